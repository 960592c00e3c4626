"""A small policy from a trained one: `python -m exphil_tf.distill --teacher RUN --data DATASET`.

The student is trained as `exphil_tf.train` trains, by the same options into the same kind of run
folder, with a teacher in its loss (`training.distillation`). The teacher answers in the student's
own compiled step; `--soft-labels` takes stored answers instead. `--compare` also trains the student
without a teacher, and measures what that was worth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from beam_pipelines.cached_dataset import DatasetRequest, Unprocessed
from exphil_tf.checkpoints import provenance
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.policy_evaluation import evaluate
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import dump_yaml, to_dict
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.foundation.values import Source
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.training import run_folder
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.compile_cache import kept_compilations
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.distill_config import DistillConfig, check_distillation, with_input_of
from exphil_tf.training.player_table import PlayerTable, imitation_of, make_player_table
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_options import read_run, with_frequent_saves, with_seed
from exphil_tf.training.run_sync import fetch_run
from exphil_tf.training.teacher_source import TeacherDescription, TeacherSource
from exphil_tf.training.train_config import check_dataset, resolve
from exphil_tf.training.training_run import TrainingRun

if TYPE_CHECKING:
    from exphil_tf.training.imitation_setup import ImitationSetup

PROG = "python -m exphil_tf.distill"
HARD = "hard-labels"
"""Folder in the run's folder for the run of --compare that has no teacher."""
COMPARISON = "comparison"


def main(argv: Sequence[str]) -> int:
    """Distils as the arguments say; returns the exit code."""
    fetch = functools.partial(fetch_run, environ=os.environ)
    loaded, location = read_run(DistillConfig, argv, prog=PROG, fetch=fetch)
    config, notes = resolve(loaded.config)
    notes += check_distillation(config)
    config, more = with_frequent_saves(config, given=loaded.given)
    notes += more
    console = make_console(quiet=not config.run.verbosity)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    source = TeacherSource.find(config.distillation)
    config = with_input_of_labels(config, source, loaded.given)
    request = DatasetRequest(
        config.data, config.input, config.filters, config.splits, config.variants
    )
    dataset = request.open(console, environ=os.environ, dry_run=config.run.dry_run)
    if isinstance(dataset, Unprocessed):
        return 0
    notes += [*location.notes(), *check_dataset(config, dataset.manifest, given=loaded.given)]
    _check_compare(config, dataset)
    players = make_player_table(config, dataset.manifest, location)
    student = Student(with_seed(config), dataset, source, players)
    for note in [*notes, *student.teacher.notes]:
        console.print(f"note: {note}", markup=False)
    seed = student.config.run.seed
    console.print(f"run: {location.run_dir}  seed: {seed}  data: {dataset.folder}")
    if config.run.dry_run:
        with student.make_setup() as setup:
            setup.plan.show(console)
        return 0
    if players is not None:
        players.save()
    training_run = student.run(location)
    outcome = training_run.train(student.make_setup, console)
    code = training_run.report(outcome, console, prog=PROG)
    if not code and config.distillation.compare:
        code = _compare(student, training_run, console)
    if not code:
        words = (location.run_dir, "--data", dataset.folder)
        console.print("Next:", command("python -m exphil_tf.evaluate", *words))
    return code


def with_input_of_labels(
    config: DistillConfig, source: TeacherSource, given: Mapping[str, Source]
) -> DistillConfig:
    """The configuration, with the input options of soft labels if there are any.

    Raises: UserError: if they were made with other options than asked.
    """
    if source.labels is None:
        return config
    return with_input_of(config, source.labels.input, origin=str(source.place), given=given)


def _check_compare(config: DistillConfig, dataset: Dataset) -> None:
    if config.distillation.compare and config.cloud.ends_machine:
        raise UserError(
            "--compare: the comparison follows the run, whose end --on-exit and --stop-pod await",
            "Leave them out, or compare later.",
        )
    if config.distillation.compare and not dataset.has_validation:
        raise UserError(
            "--compare: this dataset has no validation split to measure on",
            "Preprocess with --val-split, or leave --compare out.",
            exit_code=EXIT_NO_INPUT,
        )


@dataclass(frozen=True)
class Student:
    """A student as the options describe it, with who teaches it what."""

    config: DistillConfig
    """Resolved; its seed is set."""
    dataset: Dataset
    source: TeacherSource
    players: PlayerTable | None = None

    @functools.cached_property
    def teacher(self) -> TeacherDescription:
        """What the run's record says of the teacher; see `TeacherSource.describe`."""
        return self.source.describe(
            self.config.input,
            self.config.policy().head.codec,
            manifest_sha256=provenance.manifest_sha256(self.dataset.manifest),
        )

    def run(self, location: RunLocation) -> TrainingRun:
        """The student's run in a folder."""
        config, asked = self.config, self.config.distillation
        shares = {"alpha": asked.alpha, "temperature": asked.temperature}
        facts = provenance.describe_run(
            config=to_dict(config),
            seed=config.run.seed or 0,
            manifest=self.dataset.manifest,
            data_dir=self.dataset.folder,
            prog=PROG,
            sources={"distillation": self.teacher.content | shares},
        )
        facts |= {} if self.players is None else self.players.facts()
        return TrainingRun(
            location,
            config.run,
            config.stopping,
            dump_yaml(config),
            facts,
            cloud=config.cloud,
            environ=os.environ,
        )

    @contextlib.contextmanager
    def make_setup(self) -> Iterator[ImitationSetup]:
        """The learner and its data; TensorFlow is loaded only now, as it takes 8 s."""
        imitation = imitation_of(self.config, self.dataset.manifest, self.players)
        open_teacher = functools.partial(self.source.open, self.config.distillation, imitation)
        with kept_compilations(os.environ, is_wanted=self.config.run.keeps_compilations):
            with quiet_import():
                from exphil_tf.training.imitation_setup import imitation_setup

            with imitation_setup(imitation, self.dataset, open_teacher=open_teacher) as setup:
                yield setup


def _compare(student: Student, training_run: TrainingRun, console: Console) -> int:
    """Trains the same student on hard labels, measures all, shows and writes the comparison."""
    config, location = student.config, training_run.location
    hard_dir = location.run_dir / HARD
    alone = dataclasses.replace(
        config,
        distillation=dataclasses.replace(config.distillation, alpha=0.0, compare=False),
        run=dataclasses.replace(config.run, run_dir=str(hard_dir), name=None),
        cloud=CloudConfig(),
    )
    is_begun = location.is_resuming and (hard_dir / run_folder.CONFIG_YAML).is_file()
    console.print(f"the same student without a teacher: {hard_dir}", markup=False)
    hard = dataclasses.replace(student, config=alone)
    outcome = hard.run(RunLocation(hard_dir, is_resuming=is_begun)).train(hard.make_setup, console)
    if outcome.reason == "interrupted":
        return training_run.report(outcome, console, prog=PROG)
    policies = {HARD: hard_dir, "distilled": location.run_dir}
    if student.source.bundle is not None:
        policies["teacher"] = student.source.bundle
    _measure(policies, student, folder=location.run_dir / COMPARISON, console=console)
    return 0


def _measure(
    policies: dict[str, Path], student: Student, *, folder: Path, console: Console
) -> None:
    """Measures each policy as the evaluate command does, shows all in one table and writes it."""
    from exphil_tf.evaluation import comparison
    from exphil_tf.evaluation.results import Measured

    asked, data = (
        EvaluationConfig(jit=student.config.run.jit, compare_resets=False),
        student.dataset.folder,
    )
    found = {
        name: evaluate(path, data, asked, output=folder / name, console=console)[0]
        for name, path in policies.items()
    }
    measured = {name: Measured(one.provenance, one.policy) for name, one in found.items()}
    path = folder / "comparison.json"
    atomic.write_json(path, {"policies": comparison.to_json(measured)})
    console.print("nats per frame on the validation split", comparison.table(measured), sep="\n")
    console.print(f" - {comparison.gained(measured, of='distilled', over=HARD)}")
    console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    run(main, sys.argv[1:])
