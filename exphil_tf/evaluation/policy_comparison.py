"""Opens several policies, plays a dataset's games with each, and says on what they were measured.

What one policy's evaluation is to `policy_evaluation`, several side by side are to this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from exphil_tf.checkpoints import provenance
from exphil_tf.evaluation.compared_policy import (
    ComparedPolicy,
    as_asked,
    named_apart,
    open_compared,
)
from exphil_tf.evaluation.episodes import dataset_perspectives
from exphil_tf.evaluation.evaluation_config import FramesConfig
from exphil_tf.evaluation.results import Curve
from exphil_tf.evaluation.side_by_side import Reading, SideBySide, fit_guesses, side_by_side
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.console import progress
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.replays.players import PUBLIC_KEY
from exphil_tf.training.dataset import Dataset, load_checked


@dataclass(frozen=True)
class Compared:
    """What was compared, and on what."""

    policies: list[ComparedPolicy]
    dataset: Dataset
    reading: Reading
    found: SideBySide
    facts: dict[str, str | int | float]

    @property
    def curves(self) -> dict[str, Mapping[str, Curve]]:
        """Of the policies' training, by name."""
        return {policy.name: policy.curves for policy in self.policies}


def compare(
    runs: Sequence[Path],
    data: Path,
    config: FramesConfig,
    *,
    console: Console,
    key: str = PUBLIC_KEY,
) -> Compared:
    """Measures policies on the same frames.

    Args:
      runs: folders of runs, policy bundles and exported bundles.
      data: folder of a dataset.
      config: on which frames, and what policies are told.
      console: where progress goes.
      key: of players' pseudonyms (`replays.players.key_of`).

    Raises: UserError: if a policy or the dataset is missing, damaged, or they don't fit.
    """
    dataset = Dataset(data, load_checked(data, console, splits={"train", config.split}))
    policies = _opened(runs, dataset, config, key=key)
    reading = Reading(config.batch_size, config.unroll_frames, config.limit_frames)
    with console.status("fitting the baselines"):
        learnt = dataset_perspectives(data, "train")
        fit = fit_guesses(learnt, policies[0].codec, max_frames=config.baseline_frames)
    stats = dataset.manifest.stats.get(config.split)
    total = stats.perspective_frames if stats is not None else 0
    try:
        with progress(console, total, "measured") as on_frames:
            games = dataset_perspectives(data, config.split)
            found = side_by_side(policies, games, fit=fit, reading=reading, on_frames=on_frames)
    except ValueError as error:
        raise UserError(
            f"split {config.split!r} of {data}: {error}",
            "Check the dataset with python -m exphil_tf.verify, or leave a policy out.",
            exit_code=EXIT_DATA,
        ) from error
    return Compared(policies, dataset, reading, found, _facts(dataset, config))


def _opened(
    runs: Sequence[Path], dataset: Dataset, config: FramesConfig, *, key: str
) -> list[ComparedPolicy]:
    """The policies, each told what was asked for, under names of their own."""
    if len(config.frame_delay) > 1:
        raise UserError(
            f"--frame-delay: want one for several policies. Received: {len(config.frame_delay)}",
            "Evaluate one policy at several delays.",
        )
    found = [open_compared(run, jit=config.jit) for run in runs]
    names = named_apart(found, runs)
    return [
        as_asked(
            dataclasses.replace(policy, name=name),
            dataset.manifest,
            frame_delay=config.frame_delay[0] if config.frame_delay else None,
            player_style=config.player_style,
            desired_return=config.desired_return,
            key=key,
        )
        for policy, name in zip(found, names, strict=True)
    ]


def _facts(dataset: Dataset, config: FramesConfig) -> dict[str, str | int | float]:
    return {
        "split": config.split,
        "dataset": dataset.folder.resolve().name,
        "manifest_sha256": provenance.manifest_sha256(dataset.manifest),
        "unroll_frames": config.unroll_frames,
        "memory": "carried over whole games",
        "schema_fingerprint": dataset.manifest.fingerprint,
        "git_commit": provenance.git_commit() or "unknown",
        **{f"version {k}": v for k, v in provenance.package_versions().items()},
    }
