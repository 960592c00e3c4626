"""Replays or a dataset to a trained policy: `python -m exphil_tf.train --preset production`.

Reading `main` is reading the architecture: options, dataset, the run's folder, the session. A
run's folder is described in `exphil_tf.training.run_folder`; run the same command with
`--resume auto` to go on after an interruption (exit code 75).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.checkpoints import lock, provenance
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import Loaded, dump_yaml, to_dict
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import (
    EXIT_DATA,
    EXIT_INTERRUPTED,
)
from exphil_tf.records.manifest import MANIFEST, REJECTED, Manifest
from exphil_tf.replays.players import PUBLIC_KEY, PUBLIC_KEY_NOTE
from exphil_tf.training import run_folder
from exphil_tf.training.dataset import load_checked
from exphil_tf.training.interrupts import Interrupts
from exphil_tf.training.run_config import MAX_SEED
from exphil_tf.training.run_folder import Target
from exphil_tf.training.run_options import read_run
from exphil_tf.training.train_config import Config, TrainConfig, check_dataset, resolve

if TYPE_CHECKING:
    from exphil_tf.preprocessing.dataset_config import DatasetConfig
    from exphil_tf.training.loop import Outcome
    from exphil_tf.training.session import Session

PROG = "python -m exphil_tf.train"
NOISY_VARIANTS = 2
"""Noisy copies of each record with --augment-from variants."""


def make_session(config: TrainConfig, manifest: Manifest, data_dir: Path) -> Session:
    """The run's parts; TensorFlow is loaded only now, as it takes 8 s."""
    with quiet_import():
        from exphil_tf.training.session import Session, prepare_process

    prepare_process(config)
    return Session(config, manifest, data_dir)


@dataclass(frozen=True)
class Recipe:
    """What tells one command that trains from another."""

    prog: str = PROG
    sources: Mapping[str, Any] = field(default_factory=dict)
    """What it learns from besides a dataset, by content: entries of `config.json`, which a run that
    goes on must find the same."""
    make_session: Callable[[Any, Manifest, Path], Session] = make_session
    """Of (configuration, manifest, the dataset's folder)."""


def main(argv: Sequence[str]) -> int:
    """Trains as the arguments say; returns the exit code."""
    loaded, target = read_options(argv)
    config, notes = resolve(loaded.config)
    console = make_console()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    data_dir, manifest = open_dataset(config, console)
    if manifest is None:  # a dry run on replays that have not been preprocessed
        return 0
    for note in [*notes, *target.remarks(), *check_dataset(config, manifest, given=loaded.given)]:
        console.print(f"note: {note}")
    config = with_seed(config)
    console.print(
        f"run: {target.run_dir}  seed: {config.run.seed}  data: {data_dir}", soft_wrap=True
    )
    if config.run.dry_run:
        return dry_run(make_session(config, manifest, data_dir), console)
    outcome = train(config, target, manifest, data_dir=data_dir, console=console)
    code = report(outcome, target, console=console, prog=PROG)
    if not code:
        say_next(console, target, data_dir)
    return code


def say_next(console: Console, target: Target, data_dir: Path) -> None:
    """Recommends what comes after training."""
    words = (target.run_dir, "--data", data_dir)
    console.print("Next:", command("python -m exphil_tf.evaluate", *words))


def read_options(argv: Sequence[str]) -> tuple[Loaded[TrainConfig], Target]:
    """The options, and the run's folder."""
    return read_run(TrainConfig, argv, prog=PROG)


def open_dataset(config: TrainConfig, console: Console) -> tuple[Path, Manifest | None]:
    """The dataset's folder and manifest; made from the replays first, if those were given.

    Returns: no manifest if a dry run would have to preprocess first.

    Raises: UserError: if there is no such dataset, or none can be made.
    """
    if config.data.data is None:
        from exphil_tf.replays import tar_copies

        try:
            return _preprocess(config, console)
        finally:
            tar_copies.release()  # their room on the disk is wanted while training goes on
    folder = Path(config.data.data)
    return folder, _checked(config, folder, console)


def _checked(config: TrainConfig, folder: Path, console: Console) -> Manifest:
    """The manifest of a dataset whose shards were compared with it.

    Raises: ManifestError: names the file that is missing or another.
    """
    asked = config.input
    use_variants = asked.augment and asked.augment_from == "variants"
    return load_checked(
        folder,
        console,
        splits=("train", "validation"),
        variants=None if use_variants else ("original",),
        mode=config.data.verify_data,
    )


def train(
    config: TrainConfig,
    target: Target,
    manifest: Manifest,
    *,
    data_dir: Path,
    recipe: Recipe | None = None,
    console: Console | None = None,
) -> Outcome:
    """Trains in the run's folder, which is held meanwhile.

    Raises: UserError: if the folder is in use or holds another run, or training diverged.
    """
    recipe = recipe or Recipe()
    facts = provenance.describe_run(
        config=to_dict(config),
        seed=config.run.seed or 0,
        manifest=manifest,
        data_dir=data_dir,
        prog=recipe.prog,
    ) | {**recipe.sources, "sources": sorted(recipe.sources)}
    with lock.hold(target.run_dir):
        run_folder.claim(target, overwrite=config.run.overwrite)
        if target.is_resuming:
            saved = run_folder.saved_facts(target.run_dir)
            if saved:
                run_folder.check_same(target.run_dir, saved, facts)
            facts["created"] = saved.get("created", facts["created"])
        session = recipe.make_session(config, manifest, data_dir)
        _ = session.schedule  # refuses a warm-up beyond the run before anything is written
        # Up to here there is nothing to save, and a signal simply ends the command.
        with Interrupts() as interrupts:
            run_folder.save_options(target.run_dir, dump_yaml(config))
            atomic.write_json(target.run_dir / run_folder.CONFIG_JSON, facts)
            outcome = session.train(target, interrupts, provenance=facts, console=console)
            if outcome.reason != "interrupted":
                facts["results"] = _results(outcome, session, target)
                atomic.write_json(target.run_dir / run_folder.CONFIG_JSON, facts)
        return outcome


def _results(outcome: Outcome, session: Session, target: Target) -> dict[str, object]:
    position = outcome.position
    return {
        "reason": outcome.reason,
        "stopped_early": outcome.reason == "stopped early",
        "steps": position.step,
        "epochs_completed": session.plan.horizon.epoch_of(position.step),
        "frames": position.frames,
        "best_nll": position.progress.best if session.has_validation else None,
        "lowest_training_nll": None if session.has_validation else position.progress.best,
        "best_step": position.progress.best_step,
        "total_time_seconds": outcome.seconds,
        "weights_sha256": outcome.weights_sha256,
        "checkpoint_path": str(target.run_dir / run_folder.CHECKPOINTS),
        "policy_path": str(target.run_dir / run_folder.POLICY),
    }


def report(outcome: Outcome, target: Target, *, console: Console, prog: str) -> int:
    """Says how a run ended; returns the exit code."""
    if outcome.reason == "interrupted":
        console.print(
            f"interrupted at step {outcome.position.step}; checkpoint saved. "
            f"Go on: {command(prog, '--resume', target.run_dir)}",
        )
        return EXIT_INTERRUPTED
    console.print(f"policy: {target.run_dir / run_folder.POLICY}")
    return 0


def dry_run(session: Session, console: Console) -> int:
    """Prints what a run would be."""
    _ = session.schedule  # refuses a warm-up beyond the run
    from exphil_tf.training.plan import table

    console.print(table(session.plan))
    console.print("dry run: nothing was trained")
    return 0


def _preprocess(config: TrainConfig, console: Console) -> tuple[Path, Manifest | None]:
    """The dataset of the replays and options, in a folder named by the content of both."""
    from beam_pipelines import build_dataset as job
    from exphil_tf.preprocess import summary
    from exphil_tf.preprocessing.dataset_config import content_config, keyed

    dataset = keyed(_dataset_config(config, output="unnamed"), os.environ)
    found = job.find_replays(dataset.replays)
    key = {"options": content_config(dataset), "input": job.content_hash(found)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(config.data.datasets_dir) / f"replays-{digest}"
    if (folder / MANIFEST).is_file():
        console.print(f"dataset: {folder} (made of these replays and options before)")
        return folder, _checked(config, folder, console)
    if config.run.dry_run:
        console.print(
            f"dry run: {len(found.sources)} replays would first be preprocessed into {folder}; "
            "preprocess them to see frames, updates and memory",
        )
        return folder, None
    if dataset.records.pseudonym_key == PUBLIC_KEY:
        console.print(f"note: {PUBLIC_KEY_NOTE}", markup=False)
    console.print(f"preprocessing {len(found.sources)} replays into {folder}")
    manifest = job.build_dataset(dataclasses.replace(dataset, output=str(folder)), found=found)
    console.print(summary(manifest))
    if not manifest.frames("train"):
        raise UserError(
            f"--replays: none of {manifest.totals.files} files became a game to train on",
            f"See the reasons in {folder / REJECTED}, or relax the filters.",
            exit_code=EXIT_DATA,
        )
    return folder, manifest


def _dataset_config(config: TrainConfig, *, output: str) -> DatasetConfig:
    """What preprocessing is asked for: only variants that training reads, overlaps long enough."""
    from exphil_tf.preprocessing.dataset_config import DatasetConfig, RecordConfig

    plain, asked = RecordConfig(), config.input
    reach = asked.window_size + asked.delays(training=True)[1] + 1
    overlap = max(plain.overlap_frames, reach)
    records = RecordConfig(
        variants=("original",),
        chunk_frames=max(plain.chunk_frames, 2 * overlap),
        overlap_frames=overlap,
    )
    if asked.augment and asked.augment_from == "variants":
        records = dataclasses.replace(
            records,
            variants=("original", "mirrored"),
            num_noisy_variants=NOISY_VARIANTS if asked.noise_prob else 0,
            noise_scale=asked.noise_scale,
        )
    return DatasetConfig(
        replays=config.data.replays,
        output=output,
        max_files=config.data.max_files,
        filters=config.filters,
        splits=config.splits,
        records=records,
    )


def with_seed(config: Config) -> Config:
    """The configuration with a seed, drawn if none was given."""
    if config.run.seed is not None:
        return config
    seeded = dataclasses.replace(config.run, seed=secrets.randbelow(MAX_SEED))
    return dataclasses.replace(config, run=seeded)


if __name__ == "__main__":
    run(main, sys.argv[1:])
