"""Measures a trained policy on games it has not seen, against four baselines.

    python -m exphil_tf.evaluate RUN --data DATASET

Prints a table, and writes `evaluation.json` and a self-contained `evaluation.html`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import make_console, progress
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import Manifest
from exphil_tf.training.dataset import load_checked
from exphil_tf.training.run_folder import find_bundle

if TYPE_CHECKING:
    from exphil_tf.checkpoints.policy_bundle import PolicyInfo
    from exphil_tf.data.input_config import InputConfig
    from exphil_tf.evaluation.results import Evaluation
    from models.policy import Policy

PROG = "python -m exphil_tf.evaluate"


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures a trained policy against four baselines on the same frames."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of a policy bundle (a run's policy/)."""
    data: Path
    """Folder of a dataset (python -m exphil_tf.preprocess)."""
    split: Literal["validation", "test", "train"] = "validation"
    """Games to measure on. Baselines are always fitted on train."""
    output: Path | None = None
    """Folder for evaluation.json and evaluation.html; none means RUN/evaluation/SPLIT."""
    batch_size: int = 16
    """Unrolls at a time."""
    unroll_frames: int = 512
    """Frames that the policy reads in one go, its memory carried along; at most a chunk."""
    burn_in: int = 60
    """Frames that only warm up the memory of an unroll, except at a game's start; at most what the
    dataset's overlap holds."""
    frame_delay: int | None = None
    """Frames between a state and the input that answers it; none means what the policy was made
    for."""
    limit_frames: int = 0
    """Stop after about so many frames; 0 measures all."""
    baseline_frames: int = 2_000_000
    """Frames of the train split on which baselines are fitted; 0 takes all."""
    jit: bool = True
    """Compile with XLA: slower to start, faster from then on."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name, low in (
            ("batch_size", 1),
            ("unroll_frames", 1),
            ("burn_in", 0),
            ("limit_frames", 0),
            ("baseline_frames", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    config = load(EvaluateConfig, argv, prog=PROG)
    console = make_console()
    began = time.monotonic()
    evaluation, paths = evaluate(config, console)
    from exphil_tf.evaluation import table

    table.show(console, evaluation)
    console.print(
        f"{evaluation.policy.frames:,} frames in {time.monotonic() - began:.0f} s", markup=False
    )
    for path in paths:
        console.print(f"wrote {path}", markup=False)
    return 0


def evaluate(config: EvaluateConfig, console: Console) -> tuple[Evaluation, tuple[Path, Path]]:
    """Measures a policy and writes the report.

    Returns: what was measured, and the paths of its JSON and its page.

    Raises: UserError: if policy or dataset are missing, damaged or don't fit.
    """
    bundle = find_bundle(config.run)
    manifest = load_checked(config.data, console, splits={"train", config.split})

    # TensorFlow takes seconds to import: mistakes above are answered at once.
    with quiet_import():
        from exphil_tf.checkpoints.policy_bundle import load_policy
        from exphil_tf.evaluation import report

    policy, info = load_policy(bundle)
    evaluation = _measure(config, console, policy=policy, info=info, manifest=manifest)
    output = config.output or _run_folder(bundle) / "evaluation" / config.split
    return evaluation, report.write(evaluation, output)


# -- What is measured ------------------------------------------------------------------------------


def _run_folder(bundle: Path) -> Path:
    """Where reports of a bundle go: beside it, as its own files are covered by checksums."""
    return bundle.resolve().parent


def _input_config(config: EvaluateConfig, info: PolicyInfo, manifest: Manifest) -> InputConfig:
    """Long unrolls with warm memory, as far as the dataset's chunks and overlap allow."""
    from exphil_tf.data.input_config import InputConfig

    delay = info.delay.frames if config.frame_delay is None else config.frame_delay
    window = min(config.unroll_frames, manifest.chunk_frames)
    burn_in = min(config.burn_in, window - 1, max(0, manifest.overlap_frames - delay - 1))
    try:
        return InputConfig(window_size=window, burn_in=burn_in, frame_delay=delay)
    except ValueError as error:
        raise UserError(str(error), "Choose another --frame-delay.") from error


def _measure(
    config: EvaluateConfig,
    console: Console,
    *,
    policy: Policy,
    info: PolicyInfo,
    manifest: Manifest,
) -> Evaluation:
    """Fits the baselines on the train split and scores all on the chosen one."""
    from exphil_tf.data import input as data_input
    from exphil_tf.evaluation.measure import fit_baselines, measure, predict_fn
    from exphil_tf.evaluation.results import Evaluation
    from exphil_tf.evaluation.training_log import LOG_NAME, read_curves

    codec = policy.config.head.codec
    inputs = _input_config(config, info, manifest)

    def batches(split: str) -> Any:
        return data_input.build(
            manifest,
            inputs,
            folder=config.data,
            split=split,
            batch_size=config.batch_size,
            seed=0,
            training=False,
        )

    total = manifest.stats[config.split].perspective_frames if config.split in manifest.stats else 0
    with _sound(manifest, config, "train"), console.status("fitting the baselines"):
        fit = fit_baselines(batches("train"), codec, max_frames=config.baseline_frames)
    with _sound(manifest, config, config.split), progress(console, total, "measured") as on_frames:
        metrics, scores = measure(
            batches(config.split),
            predict_fn(policy, jit=config.jit),
            fit.baselines(),
            codec=codec,
            max_frames=config.limit_frames,
            on_frames=on_frames,
        )
    provenance = _provenance(config, info, manifest) | {
        "unroll_frames": inputs.window_size,
        "burn_in": inputs.burn_in,
        "frame_delay": inputs.frame_delay,
        "baseline_frames": fit.frames,
        "trained_delay": f"{info.delay.trained_min} to {info.delay.trained_max}",
        "parameters": policy.num_parameters,
    }
    if not info.delay.trained_min <= inputs.frame_delay <= info.delay.trained_max:
        text = f"note: measured at delay {inputs.frame_delay}, trained for"
        console.print(f"{text} {provenance['trained_delay']}", markup=False)
    curves = read_curves(_run_folder(find_bundle(config.run)) / LOG_NAME)
    return Evaluation(provenance, metrics, scores, curves)


@contextlib.contextmanager
def _sound(manifest: Manifest, config: EvaluateConfig, split: str) -> Iterator[None]:
    """Turns damaged shards, an empty split and a broken network into one sentence."""
    from exphil_tf.data import input as data_input

    try:
        with data_input.named_shard_errors(manifest, folder=config.data, split=split):
            yield
    except ValueError as error:
        raise UserError(
            f"{config.run} on split {split!r} of {config.data}: {error}",
            "Check the dataset with python -m exphil_tf.verify, or evaluate another run.",
            exit_code=EXIT_DATA,
        ) from error


def _provenance(
    config: EvaluateConfig, info: PolicyInfo, manifest: Manifest
) -> dict[str, str | int | float]:
    """What was measured on what, by content."""
    from exphil_tf.checkpoints import provenance
    from exphil_tf.foundation import atomic

    bundle = find_bundle(config.run)
    manifest_sha256 = provenance.manifest_sha256(manifest)
    dataset = config.data.resolve().name
    trained_on = info.provenance.get("data", {}).get("manifest_sha256")
    return {
        "run": _run_folder(bundle).name if bundle.name == "policy" else bundle.resolve().name,
        "measured_on": _measured_on(config.split, dataset, manifest_sha256 == trained_on),
        "split": config.split,
        "dataset": dataset,
        "manifest_sha256": manifest_sha256,
        "trained_on_manifest_sha256": trained_on or "unknown",
        "weights_sha256": atomic.sha256(bundle / WEIGHTS),
        "weights": info.weights,
        "backbone": info.config.backbone.backbone,
        "head": info.config.head.head,
        "axis_buckets": info.config.head.codec.num_axis,
        "schema_fingerprint": manifest.fingerprint,
        "git_commit": provenance.git_commit() or "unknown",
        **{f"version {k}": v for k, v in provenance.package_versions().items()},
    }


def _measured_on(split: str, dataset: str, is_its_own: bool) -> str:
    games = f"the {split} split of {dataset}"
    if not is_its_own:
        return f"{games}, another dataset than it was trained on"
    if split == "train":
        return f"{games}, which it was trained on"
    return f"{games}, games that it was not trained on"


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
