"""Replays or a dataset to a trained policy: `python -m exphil_tf.train --preset production`.

Reading `main` is reading the architecture: options, dataset, the run's folder, the learner. A
run's folder is described in `exphil_tf.training.run_folder`; run the same command with
`--resume auto` to go on after an interruption (exit code 75).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.checkpoints import provenance
from exphil_tf.foundation.config import Loaded, dump_yaml, to_dict
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import MANIFEST, REJECTED, Manifest
from exphil_tf.replays.players import PUBLIC_KEY, PUBLIC_KEY_NOTE
from exphil_tf.training.dataset import Dataset, load_checked
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_config import MAX_SEED
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_options import read_run
from exphil_tf.training.train_config import Config, TrainConfig, check_dataset, resolve
from exphil_tf.training.training_run import TrainingRun

if TYPE_CHECKING:
    from exphil_tf.preprocessing.dataset_config import DatasetConfig
    from exphil_tf.training.imitation_setup import ImitationSetup

PROG = "python -m exphil_tf.train"
NOISY_VARIANTS = 2
"""Noisy copies of each record with --augment-from variants."""


@contextlib.contextmanager
def make_setup(config: ImitationConfig, dataset: Dataset) -> Iterator[ImitationSetup]:
    """The learner and its data; TensorFlow is loaded only now, as it takes 8 s."""
    with quiet_import():
        from exphil_tf.training.imitation_setup import imitation_setup

    with imitation_setup(config, dataset) as setup:
        yield setup


def main(argv: Sequence[str]) -> int:
    """Trains as the arguments say; returns the exit code."""
    loaded, location = read_options(argv)
    config, notes = resolve(loaded.config)
    console = make_console()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    dataset = open_dataset(config, console)
    if dataset is None:  # a dry run on replays that have not been preprocessed
        return 0
    remarks = check_dataset(config, dataset.manifest, given=loaded.given)
    for note in [*notes, *location.notes(), *remarks]:
        console.print(f"note: {note}")
    config = with_seed(config)
    console.print(
        f"run: {location.run_dir}  seed: {config.run.seed}  data: {dataset.folder}", soft_wrap=True
    )
    imitation = config.imitation(dataset.manifest.unrecorded())
    make = functools.partial(make_setup, imitation, dataset)
    if config.run.dry_run:
        return dry_run(make, console)
    run = training_run(config, location, dataset, prog=PROG)
    outcome = run.train(make, console)
    code = run.report(outcome, console, prog=PROG)
    if not code:
        say_next(console, location, dataset)
    return code


def training_run(
    config: TrainConfig,
    location: RunLocation,
    dataset: Dataset,
    *,
    prog: str,
    sources: Mapping[str, Any] | None = None,
) -> TrainingRun:
    """The run of these options.

    Args:
      config: resolved.
      location: the run's folder.
      dataset: what is learnt from.
      prog: the command.
      sources: what is learnt from besides, by content.
    """
    facts = provenance.describe_run(
        config=to_dict(config),
        seed=config.run.seed or 0,
        manifest=dataset.manifest,
        data_dir=dataset.folder,
        prog=prog,
    )
    facts |= {**(sources or {}), "sources": sorted(sources or {})}
    return TrainingRun(location, config.run, config.stopping, dump_yaml(config), facts)


def say_next(console: Console, location: RunLocation, dataset: Dataset) -> None:
    """Recommends what comes after training."""
    words = (location.run_dir, "--data", dataset.folder)
    console.print("Next:", command("python -m exphil_tf.evaluate", *words))


def read_options(argv: Sequence[str]) -> tuple[Loaded[TrainConfig], RunLocation]:
    """The options, and the run's folder."""
    return read_run(TrainConfig, argv, prog=PROG)


def open_dataset(config: TrainConfig, console: Console) -> Dataset | None:
    """The dataset, made from the replays first, if those were given.

    Returns: None if a dry run would have to preprocess first.

    Raises: UserError: if there is no such dataset, or none can be made.
    """
    if config.data.data is None:
        from exphil_tf.replays import tar_copies

        try:
            return _preprocess(config, console)
        finally:
            tar_copies.release()  # their room on the disk is wanted while training goes on
    folder = Path(config.data.data)
    return Dataset(folder, _checked(config, folder, console))


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


def dry_run(make: Callable[[], AbstractContextManager[ImitationSetup]], console: Console) -> int:
    """Prints what a run would be."""
    with make() as setup:
        from exphil_tf.training.plan import table

        console.print(table(setup.plan))
    console.print("dry run: nothing was trained")
    return 0


def _preprocess(config: TrainConfig, console: Console) -> Dataset | None:
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
        return Dataset(folder, _checked(config, folder, console))
    if config.run.dry_run:
        console.print(
            f"dry run: {len(found.sources)} replays would first be preprocessed into {folder}; "
            "preprocess them to see frames, updates and memory",
        )
        return None
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
    return Dataset(folder, manifest)


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
