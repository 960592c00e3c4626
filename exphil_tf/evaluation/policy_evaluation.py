"""A policy on a dataset's games, against baselines fitted on its train split: the whole evaluation.

Free of TensorFlow until policy and dataset were found: mistakes are answered at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.checkpoints import provenance
from exphil_tf.data.condition_source import ConditionSource
from exphil_tf.data.input_config import InputConfig
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.results import DelayMetrics, ReturnMetrics, correlation_of
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import progress
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays.players import PUBLIC_KEY
from exphil_tf.training.dataset import Dataset, load_checked
from exphil_tf.training.player_table import translation
from exphil_tf.training.run_folder import find_bundle

if TYPE_CHECKING:
    from exphil_tf.checkpoints.policy_bundle import PolicyInfo
    from exphil_tf.evaluation.measure import PredictFn
    from exphil_tf.evaluation.results import Evaluation, OwnActions, ResetMetrics, WinMetrics
    from exphil_tf.training.dataset_split import DatasetSplit
    from models.policy import Policy


def evaluate(
    run: Path,
    data: Path,
    config: EvaluationConfig,
    *,
    output: Path | None,
    console: Console,
    key: str = PUBLIC_KEY,
) -> tuple[Evaluation, tuple[Path, Path]]:
    """Measures a policy and writes the report.

    Args:
      run: folder of a run, or of a policy bundle.
      data: folder of a dataset.
      config: what is measured.
      output: folder of the report; None for `evaluation/SPLIT` in the run's folder.
      console: where progress goes.
      key: of players' pseudonyms (`replays.players.key_of`).

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
    measurement = _Measurement(run, bundle, dataset, config, policy, info, console, key)
    evaluation = measurement.evaluate()
    output = output or _run_folder(bundle) / "evaluation" / config.split
    return evaluation, report.write(evaluation, output)


def _run_folder(bundle: Path) -> Path:
    """Where reports of a bundle go: beside it, as its own files are covered by checksums."""
    return bundle.resolve().parent


def input_config(
    config: EvaluationConfig, info: PolicyInfo, manifest: Manifest, *, delay: int | None = None
) -> InputConfig:
    """Whole games for a policy with memory, or else long unrolls with warm memory.

    Args:
      config: what is measured.
      info: of the policy.
      manifest: of the dataset.
      delay: frames; None for that of the policy.
    """
    delay = info.delay.frames if delay is None else delay
    room = manifest.overlap_frames - delay
    if config.carry_state and info.config.backbone.has_memory and room > 0:
        window = min(config.unroll_frames, manifest.chunk_frames, room)
        return _input(window, delay, carry_state=True, conditions=_told(info, manifest))
    return unrolls_config(
        info, manifest, delay, frames=config.unroll_frames, burn_in=config.burn_in
    )


def unrolls_config(
    info: PolicyInfo, manifest: Manifest, delay: int, *, frames: int, burn_in: int
) -> InputConfig:
    """Unrolls by themselves, as far as the dataset's chunks and overlap allow."""
    window = min(frames, manifest.chunk_frames)
    burn_in = min(burn_in, window - 1, max(0, manifest.overlap_frames - delay - 1))
    return _input(window, delay, burn_in=burn_in, conditions=_told(info, manifest))


def _told(info: PolicyInfo, manifest: Manifest) -> ConditionSource:
    return ConditionSource(players=_player_ids(info, manifest))


def _input(window: int, delay: int, **options: Any) -> InputConfig:
    try:
        return InputConfig(window_size=window, frame_delay=delay, **options)
    except ValueError as error:
        raise UserError(str(error), "Choose another --frame-delay.") from error


def _player_ids(info: PolicyInfo, manifest: Manifest) -> tuple[int, ...] | None:
    """The policy's player ids for those of the dataset; None if it learnt no styles."""
    if info.players is None:
        return None
    is_keyed_alike = info.players.key == manifest.config.get("pseudonyms", "")
    return translation(manifest, info.players.ids if is_keyed_alike else {})


def compiled(policy: Policy, inputs: InputConfig, config: EvaluationConfig) -> PredictFn:
    """A policy's unroll on batches of `inputs`, memory kept between them where it is carried."""
    from exphil_tf.evaluation.measure import predict_fn
    from models.carried_state import CarriedState

    carried = CarriedState(policy, config.batch_size) if inputs.carry_state else None
    return predict_fn(policy, carried=carried, jit=config.jit)


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
    key: str = PUBLIC_KEY

    def evaluate(self) -> Evaluation:
        """Fits the baselines on the train split and scores all on the chosen one."""
        from exphil_tf.evaluation.measure import fit_baselines, measure, told
        from exphil_tf.evaluation.results import Evaluation
        from exphil_tf.evaluation.training_log import LOG_NAME, read_curves

        config, codec = self.config, self.policy.config.head.codec
        ids = self._told_ids()
        delays = config.frame_delay or (self.info.delay.frames,)
        inputs = self._inputs(delays[0])
        train = self._split("train", self._by_themselves(delays[0]))
        chosen = self._split(config.split, inputs)
        with self._sound(train), self.console.status("fitting the baselines"):
            fit = fit_baselines(train.batches(), codec, max_frames=config.baseline_frames)
        total = self._num_frames()
        with self._sound(chosen), progress(self.console, total, "measured") as on_frames:
            metrics, scores = measure(
                told(chosen.batches(), ids),
                compiled(self.policy, inputs, self.config),
                fit.baselines(),
                codec=codec,
                max_frames=config.limit_frames,
                on_frames=on_frames,
            )
        by_delay = [DelayMetrics.of(delays[0], metrics)]
        by_delay += [self._at_delay(delay, ids) for delay in delays[1:]]
        by_return = self._by_return(delays[0], ids) if config.by_return else []
        log = _run_folder(self.bundle) / LOG_NAME
        came_from = self._content() | self._conditions(inputs, baseline_frames=fit.frames)
        return Evaluation(
            came_from | {f"told {name}": number for name, number in ids.items()},
            metrics,
            scores,
            read_curves(log),
            component_curves={name: read_curves(log, name) for name in COMPONENTS},
            resets=self._resets(inputs, ids),
            own_actions=self._own_actions(delays[0], ids),
            win=self._win(),
            by_delay=by_delay if len(delays) > 1 else [],
            by_return=by_return,
            return_correlation=correlation_of(by_return),
        )

    def _inputs(self, delay: int) -> InputConfig:
        return input_config(self.config, self.info, self.dataset.manifest, delay=delay)

    def _by_themselves(self, delay: int) -> InputConfig:
        frames, burn_in = self.config.unroll_frames, self.config.burn_in
        manifest = self.dataset.manifest
        return unrolls_config(self.info, manifest, delay, frames=frames, burn_in=burn_in)

    def _told_ids(self) -> dict[str, int]:
        """Ids of what is told of every game; a delay is told as it is read.

        Raises: UserError: if the policy cannot be told that.
        """
        from exphil_tf.evaluation.policy_conditions import conditions_of

        config, conditions = self.config, conditions_of(self.info)
        for delay in config.frame_delay:
            conditions.ids(frame_delay=delay)
        if config.by_return and conditions.returns is None:
            raise UserError(
                "--by-return: this policy cannot be asked for a return",
                "Train one with --condition-on-return.",
            )
        return conditions.ids(
            player_style=config.player_style, desired_return=config.desired_return, key=self.key
        )

    def _at_delay(self, delay: int, ids: Mapping[str, int]) -> DelayMetrics:
        from exphil_tf.evaluation.measure import measure, told

        inputs, codec = self._inputs(delay), self.policy.config.head.codec
        split, most = self._split(self.config.split, inputs), self.config.limit_frames
        total, predict = self._num_frames(), compiled(self.policy, inputs, self.config)
        with self._sound(split), progress(self.console, total, f"at delay {delay}") as on_frames:
            batches = told(split.batches(), ids)
            found, _ = measure(
                batches, predict, {}, codec=codec, max_frames=most, on_frames=on_frames
            )
        return DelayMetrics.of(delay, found)

    def _by_return(self, delay: int, ids: Mapping[str, int]) -> list[ReturnMetrics]:
        from exphil_tf.evaluation.measure import told
        from exphil_tf.evaluation.return_response import measure_returns

        split = self._split(self.config.split, self._by_themselves(delay))
        with self._sound(split), self.console.status("asking for returns"):
            return measure_returns(
                told(split.batches(), ids),
                self.policy,
                jit=self.config.jit,
                max_frames=self.config.limit_frames,
            )

    def _own_actions(self, delay: int, ids: Mapping[str, int]) -> OwnActions | None:
        from exphil_tf.evaluation.measure import told
        from exphil_tf.evaluation.own_actions import measure_own_actions, play_fn

        limits = self.config.own_action_frames, self.config.limit_frames
        if not limits[0]:
            return None
        max_frames = min(limit for limit in limits if limit)
        split = self._split(self.config.split, self._by_themselves(delay))
        with self._sound(split), self.console.status("feeding it its own actions"):
            play = play_fn(self.policy, jit=self.config.jit)
            return measure_own_actions(told(split.batches(), ids), play, max_frames=max_frames)

    def _win(self) -> WinMetrics | None:
        from exphil_tf.evaluation.win_forecast import measure_wins
        from exphil_tf.training.win_fit import MOST_FRAMES, win_views

        weights = self.info.win_probability
        if weights is None:
            return None
        config, folder, manifest = self.config, self.dataset.folder, self.dataset.manifest
        fitted = win_views(manifest, folder, "train", max_frames=MOST_FRAMES)
        views = win_views(manifest, folder, config.split, max_frames=config.limit_frames)
        with self.console.status("measuring the win probability"):
            return measure_wins(fitted, views, weights)

    def _resets(self, inputs: InputConfig, ids: Mapping[str, int]) -> ResetMetrics | None:
        """Nats with memory emptied at every unroll, as training without carried memory has it."""
        from exphil_tf.evaluation.measure import mean_nll, told
        from exphil_tf.evaluation.results import ResetMetrics

        config, info = self.config, self.info
        if not inputs.carry_state or not config.compare_resets or config.limit_frames:
            return None
        burn_in = provenance.nested(info.provenance, "config", "burn_in")
        reading = unrolls_config(
            info,
            self.dataset.manifest,
            inputs.frame_delay,
            frames=info.window_size,
            burn_in=burn_in if isinstance(burn_in, int) else 0,
        )
        chosen = self._split(config.split, reading)
        with self._sound(chosen), self.console.status("measuring with memory emptied"):
            nll = mean_nll(self.policy, told(chosen.batches(), ids), jit=config.jit)
        return ResetMetrics(reading.window_size, reading.burn_in, sum(nll.values()), nll)

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

    def _memory(self, inputs: InputConfig) -> str:
        if not self.info.config.backbone.has_memory:
            return "none"
        return "carried over whole games" if inputs.carry_state else "emptied at every unroll"

    def _trained_delay(self) -> str:
        return f"{self.info.delay.trained_min} to {self.info.delay.trained_max}"

    def _content(self) -> dict[str, str | int | float]:
        """What was measured on what, by content."""
        bundle, info, manifest = self.bundle, self.info, self.dataset.manifest
        manifest_sha256 = provenance.manifest_sha256(manifest)
        name = self.dataset.folder.resolve().name
        trained_on = provenance.data_of(info.provenance).get("manifest_sha256")
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
            "memory": self._memory(inputs),
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
