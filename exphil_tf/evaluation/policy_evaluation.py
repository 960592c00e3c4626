"""A policy on a dataset's games, against baselines fitted on its train split: the whole evaluation.

Free of TensorFlow until policy and dataset were found: mistakes are answered at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_tf.checkpoints import provenance
from exphil_tf.data.input_config import InputConfig
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import progress
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import Manifest
from exphil_tf.training.dataset import Dataset, load_checked
from exphil_tf.training.run_folder import find_bundle

if TYPE_CHECKING:
    from exphil_tf.checkpoints.policy_bundle import PolicyInfo
    from exphil_tf.evaluation.results import Evaluation, OwnActions
    from exphil_tf.training.dataset_split import DatasetSplit
    from models.policy import Policy


def evaluate(
    run: Path, data: Path, config: EvaluationConfig, *, output: Path | None, console: Console
) -> tuple[Evaluation, tuple[Path, Path]]:
    """Measures a policy and writes the report.

    Args:
      run: folder of a run, or of a policy bundle.
      data: folder of a dataset.
      config: what is measured.
      output: folder of the report; None for `evaluation/SPLIT` in the run's folder.
      console: where progress goes.

    Returns: what was measured, and the paths of its JSON and its page.

    Raises: UserError: if policy or dataset are missing, damaged or don't fit.
    """
    bundle = find_bundle(run)
    dataset = Dataset(data, load_checked(data, console, splits={"train", config.split}))

    # TensorFlow takes seconds to import: mistakes above are answered at once.
    with quiet_import():
        from exphil_tf.checkpoints.policy_bundle import load_policy
        from exphil_tf.evaluation import report

    policy, info = load_policy(bundle)
    measurement = _Measurement(run, bundle, dataset, config, policy, info, console)
    evaluation = measurement.evaluate()
    output = output or _run_folder(bundle) / "evaluation" / config.split
    return evaluation, report.write(evaluation, output)


def _run_folder(bundle: Path) -> Path:
    """Where reports of a bundle go: beside it, as its own files are covered by checksums."""
    return bundle.resolve().parent


def input_config(config: EvaluationConfig, info: PolicyInfo, manifest: Manifest) -> InputConfig:
    """Long unrolls with warm memory, as far as the dataset's chunks and overlap allow."""
    delay = info.delay.frames if config.frame_delay is None else config.frame_delay
    window = min(config.unroll_frames, manifest.chunk_frames)
    burn_in = min(config.burn_in, window - 1, max(0, manifest.overlap_frames - delay - 1))
    try:
        return InputConfig(window_size=window, burn_in=burn_in, frame_delay=delay)
    except ValueError as error:
        raise UserError(str(error), "Choose another --frame-delay.") from error


@dataclass(frozen=True)
class _Measurement:
    """A policy, the frames it is measured on, and how it reads them."""

    run: Path
    bundle: Path
    dataset: Dataset
    config: EvaluationConfig
    policy: Policy
    info: PolicyInfo
    console: Console

    def evaluate(self) -> Evaluation:
        """Fits the baselines on the train split and scores all on the chosen one."""
        from exphil_tf.evaluation.measure import fit_baselines, measure, predict_fn
        from exphil_tf.evaluation.results import Evaluation
        from exphil_tf.evaluation.training_log import LOG_NAME, read_curves

        config, codec = self.config, self.policy.config.head.codec
        inputs = input_config(config, self.info, self.dataset.manifest)
        train, chosen = self._split("train", inputs), self._split(config.split, inputs)
        with self._sound(train), self.console.status("fitting the baselines"):
            fit = fit_baselines(train.batches(), codec, max_frames=config.baseline_frames)
        total = self._num_frames()
        with self._sound(chosen), progress(self.console, total, "measured") as on_frames:
            metrics, scores = measure(
                chosen.batches(),
                predict_fn(self.policy, jit=config.jit),
                fit.baselines(),
                codec=codec,
                max_frames=config.limit_frames,
                on_frames=on_frames,
            )
        own_actions = self._own_actions(chosen)
        self._note_other_delay(inputs.frame_delay)
        came_from = self._content() | self._conditions(inputs, baseline_frames=fit.frames)
        curves = read_curves(_run_folder(self.bundle) / LOG_NAME)
        return Evaluation(came_from, metrics, scores, curves, own_actions)

    def _own_actions(self, chosen: DatasetSplit) -> OwnActions | None:
        from exphil_tf.evaluation.own_actions import measure_own_actions, play_fn

        limits = self.config.own_action_frames, self.config.limit_frames
        if not limits[0]:
            return None
        max_frames = min(limit for limit in limits if limit)
        with self._sound(chosen), self.console.status("feeding it its own actions"):
            play = play_fn(self.policy, jit=self.config.jit)
            return measure_own_actions(chosen.batches(), play, max_frames=max_frames)

    def _split(self, split: str, inputs: InputConfig) -> DatasetSplit:
        from exphil_tf.training.dataset_split import DatasetSplit

        return DatasetSplit(
            self.dataset.manifest,
            self.dataset.folder,
            inputs,
            split=split,
            batch_size=self.config.batch_size,
            seed=0,
            is_training=False,
        )

    def _num_frames(self) -> int:
        stats = self.dataset.manifest.stats.get(self.config.split)
        return stats.perspective_frames if stats is not None else 0

    @contextlib.contextmanager
    def _sound(self, split: DatasetSplit) -> Iterator[None]:
        """Turns damaged shards, an empty split and a broken network into one sentence."""
        try:
            with split.named_errors():
                yield
        except ValueError as error:
            raise UserError(
                f"{self.run} on split {split.split!r} of {self.dataset.folder}: {error}",
                "Check the dataset with python -m exphil_tf.verify, or evaluate another run.",
                exit_code=EXIT_DATA,
            ) from error

    def _trained_delay(self) -> str:
        return f"{self.info.delay.trained_min} to {self.info.delay.trained_max}"

    def _note_other_delay(self, delay: int) -> None:
        if not self.info.delay.trained_min <= delay <= self.info.delay.trained_max:
            text = f"note: measured at delay {delay}, trained for {self._trained_delay()}"
            self.console.print(text, markup=False)

    def _content(self) -> dict[str, str | int | float]:
        """What was measured on what, by content."""
        bundle, info, manifest = self.bundle, self.info, self.dataset.manifest
        manifest_sha256 = provenance.manifest_sha256(manifest)
        name = self.dataset.folder.resolve().name
        trained_on = info.provenance.get("data", {}).get("manifest_sha256")
        return {
            "run": _run_folder(bundle).name if bundle.name == "policy" else bundle.resolve().name,
            "measured_on": measured_on(
                self.config.split, name, is_its_own=manifest_sha256 == trained_on
            ),
            "split": self.config.split,
            "dataset": name,
            "manifest_sha256": manifest_sha256,
            "trained_on_manifest_sha256": trained_on or "unknown",
            "weights_sha256": atomic.sha256(bundle / "weights.safetensors"),
            "weights": info.weights,
            "backbone": info.config.backbone.backbone,
            "head": info.config.head.head,
            "axis_buckets": info.config.head.codec.num_axis,
            "schema_fingerprint": manifest.fingerprint,
            "git_commit": provenance.git_commit() or "unknown",
            **{f"version {k}": v for k, v in provenance.package_versions().items()},
        }

    def _conditions(
        self, inputs: InputConfig, *, baseline_frames: int
    ) -> dict[str, str | int | float]:
        """How it was measured."""
        return {
            "unroll_frames": inputs.window_size,
            "burn_in": inputs.burn_in,
            "frame_delay": inputs.frame_delay,
            "baseline_frames": baseline_frames,
            "trained_delay": self._trained_delay(),
            "parameters": self.policy.num_parameters,
        }


def measured_on(split: str, dataset: str, *, is_its_own: bool) -> str:
    """Which games, in words that say whether the policy knew them."""
    games = f"the {split} split of {dataset}"
    if not is_its_own:
        return f"{games}, another dataset than it was trained on"
    if split == "train":
        return f"{games}, which it was trained on"
    return f"{games}, games that it was not trained on"
