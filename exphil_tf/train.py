"""Replays or a dataset to a trained policy: `python -m exphil_tf.train --preset production`.

Reading `main` is reading the architecture: options, dataset, the run's folder, the learner. A
run's folder is described in `exphil_tf.training.run_folder`; run the same command with
`--resume auto` to go on after an interruption (exit code 75).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from beam_pipelines.cached_dataset import DatasetRequest, Unprocessed
from exphil_tf.checkpoints import provenance
from exphil_tf.foundation.config import Loaded, dump_yaml, to_dict
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command, make_console
from exphil_tf.training import plan, run_folder
from exphil_tf.training.batch_fit import with_batch_size
from exphil_tf.training.compile_cache import kept_compilations
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.player_table import imitation_of, make_player_table
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_options import read_run, with_frequent_saves, with_seed
from exphil_tf.training.run_sync import fetch_run
from exphil_tf.training.train_config import (
    TrainConfig,
    check_dataset,
    resolve,
)
from exphil_tf.training.training_run import TrainingRun

if TYPE_CHECKING:
    from exphil_tf.training.imitation_setup import ImitationSetup

PROG = "python -m exphil_tf.train"


def main(argv: Sequence[str]) -> int:
    """Trains as the arguments say; returns the exit code."""
    loaded, location = read_options(argv)
    config, notes = resolve(loaded.config)
    config, more = with_frequent_saves(config, given=loaded.given)
    run_folder.check_free(location, overwrite=config.run.overwrite)
    console = make_console(quiet=not config.run.verbosity)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    request = DatasetRequest(
        config.data, config.input, config.filters, config.splits, config.variants
    )
    dataset = request.open(console, environ=os.environ, dry_run=config.run.dry_run)
    if isinstance(dataset, Unprocessed):
        _show_guess(with_seed(config), dataset, console)
        return 0
    remarks = check_dataset(config, dataset.manifest, given=loaded.given)
    config, chosen = with_batch_size(config, dataset, is_resuming=location.is_resuming)
    for note in [*notes, *more, *location.notes(), *remarks, *chosen]:
        console.print(f"note: {note}")
    config = with_seed(config)
    console.print(
        f"run: {location.run_dir}  seed: {config.run.seed}  data: {dataset.folder}", soft_wrap=True
    )
    players = make_player_table(config, dataset.manifest, location)
    imitation = imitation_of(config, dataset.manifest, players)
    if config.run.dry_run:
        plan.plan_dataset(imitation, dataset).show(console)
        return 0
    facts = provenance.describe_run(
        config=to_dict(config),
        seed=imitation.seed,
        manifest=dataset.manifest,
        data_dir=dataset.folder,
        prog=PROG,
        argv=argv,
    )
    if players is not None:
        players.save()
        facts |= players.facts()
    training_run = TrainingRun(
        location,
        config.run,
        config.stopping,
        dump_yaml(config),
        facts,
        cloud=config.cloud,
        environ=os.environ,
    )
    outcome = training_run.train(functools.partial(make_setup, imitation, dataset), console)
    code = training_run.report(outcome, console, prog=PROG)
    if not code:
        words = (location.run_dir, "--data", dataset.folder)
        console.print("Next:", command("python -m exphil_tf.evaluate", *words))
    return code


def _show_guess(config: TrainConfig, replays: Unprocessed, console: Console) -> None:
    """What can be said of a run on replays that have not been preprocessed."""
    imitation = config.imitation()
    guess = plan.plan_frames(imitation, replays.frames) if replays.frames else None
    console.print(plan.table(plan.costs_of(imitation), guess))


def read_options(argv: Sequence[str]) -> tuple[Loaded[TrainConfig], RunLocation]:
    """The options, and the run's folder."""
    fetch = functools.partial(fetch_run, environ=os.environ)
    return read_run(TrainConfig, argv, prog=PROG, fetch=fetch)


@contextlib.contextmanager
def make_setup(config: ImitationConfig, dataset: Dataset) -> Iterator[ImitationSetup]:
    """The learner and its data; TensorFlow is loaded only now, as it takes 8 s."""
    with kept_compilations(os.environ, is_wanted=config.run.keeps_compilations):
        with quiet_import():
            from exphil_tf.training.imitation_setup import imitation_setup

        with imitation_setup(config, dataset) as setup:
            yield setup


if __name__ == "__main__":
    run(main, sys.argv[1:])
