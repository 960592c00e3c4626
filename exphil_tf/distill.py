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
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.checkpoints import provenance
from exphil_tf.evaluate import EvaluateConfig, evaluate
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.foundation.values import Source
from exphil_tf.process.console import make_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.train import (
    dry_run,
    open_dataset,
    say_next,
    training_run,
    with_seed,
)
from exphil_tf.training import run_folder
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.distill_config import DistillConfig, check_distillation, with_input_of
from exphil_tf.training.run_folder import RunLocation, find_bundle
from exphil_tf.training.run_options import read_run
from exphil_tf.training.soft_labels import LABELS, LabelsManifest, check_labels, read_labels
from exphil_tf.training.train_config import check_dataset, resolve

if TYPE_CHECKING:
    from exphil_tf.training.imitation_setup import ImitationSetup

PROG = "python -m exphil_tf.distill"
HARD = "hard-labels"
"""Folder in the run's folder for the run of --compare that has no teacher."""
COMPARISON = "comparison"


def main(argv: Sequence[str]) -> int:
    """Distils as the arguments say; returns the exit code."""
    loaded, location = read_run(DistillConfig, argv, prog=PROG)
    config, notes = resolve(loaded.config)
    notes += check_distillation(config)
    console = make_console()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    config, labels = with_labels(config, loaded.given)
    asked = config.distillation
    given = GivenTeacher(find_bundle(Path(asked.teacher)) if asked.teacher else None, labels)
    dataset = open_dataset(config, console)
    if dataset is None:  # a dry run on replays that have not been preprocessed
        return 0
    notes += [*location.notes(), *check_dataset(config, dataset.manifest, given=loaded.given)]
    if asked.compare and not dataset.has_validation:
        raise UserError(
            "--compare: this dataset has no validation split to measure on",
            "Preprocess with --val-split, or leave --compare out.",
            exit_code=EXIT_NO_INPUT,
        )
    config = with_seed(config)
    sources = describe_source(config, dataset, given, notes=notes)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"run: {location.run_dir}  seed: {config.run.seed}  data: {dataset.folder}")
    make = functools.partial(make_setup, config, dataset, given)
    if config.run.dry_run:
        return dry_run(make, console)
    run = training_run(config, location, dataset, prog=PROG, sources=sources)
    outcome = run.train(make, console)
    code = run.report(outcome, console, prog=PROG)
    if not code and asked.compare:
        code = _compare(config, location, dataset, given=given, console=console)
    if not code:
        say_next(console, location, dataset)
    return code


def with_labels(
    config: DistillConfig, given: Mapping[str, Source]
) -> tuple[DistillConfig, LabelsManifest | None]:
    """The soft labels' manifest, if there are any, and the configuration with their input options.

    Raises: UserError: if they are missing or damaged, or were made with other options than asked.
    """
    place = config.distillation.soft_labels
    if place is None:
        return config, None
    labels = read_labels(Path(place))
    return with_input_of(config, labels.input, origin=place, given=given), labels


@dataclass(frozen=True)
class GivenTeacher:
    """Who teaches: a policy that is asked, or what one answered."""

    bundle: Path | None
    """Of the teacher, if one was named."""
    labels: LabelsManifest | None
    """Of stored answers, which are used if there are any."""


def describe_source(
    config: DistillConfig, dataset: Dataset, given: GivenTeacher, *, notes: list[str]
) -> dict[str, Any]:
    """What a student learns from besides the dataset, by content: entries of `config.json`.

    Args:
      config: resolved.
      dataset: what both read.
      given: the teacher.
      notes: sentences about the teacher are added here.

    Raises: UserError: if the teacher, its answers and the student don't fit together.
    """
    with quiet_import():
        from exphil_tf.checkpoints.policy_bundle import read_info
        from exphil_tf.training.distillation import check_teacher, describe_teacher, teacher_notes

    codec = config.policy().head.codec
    digest = provenance.manifest_sha256(dataset.manifest)
    identity: dict[str, Any] | None = None
    if given.bundle is not None:
        info = read_info(given.bundle)
        identity = describe_teacher(given.bundle, info)
        check_teacher(info, config.input, codec)
        notes += teacher_notes(info, config.input, manifest_sha256=digest)
    if given.labels is not None:
        check_labels(given.labels, manifest_sha256=digest, codec=codec, teacher=identity)
        identity = dict(given.labels.teacher)
    place = config.distillation.soft_labels
    source = {
        "teacher": identity,
        "alpha": config.distillation.alpha,
        "temperature": config.distillation.temperature,
        # Of the list of the labels' checksums, which covers every byte of them.
        "soft_labels_sha256": atomic.sha256(Path(place) / LABELS / atomic.CHECKSUMS)
        if place
        else None,
    }
    return {"distillation": source}


@contextlib.contextmanager
def make_setup(
    config: DistillConfig, dataset: Dataset, given: GivenTeacher
) -> Iterator[ImitationSetup]:
    """The student and its data; the teacher is loaded under the run's precision."""
    with quiet_import():
        from exphil_tf.training.distillation import distillation_terms, load_teacher
        from exphil_tf.training.imitation_setup import TeacherSource, imitation_setup
        from exphil_tf.training.soft_label_records import SoftLabels

    imitation, asked = config.imitation(dataset.manifest.unrecorded()), config.distillation

    def open_teacher() -> TeacherSource:
        if given.labels is None:
            assert given.bundle is not None  # `check_distillation` saw to it
            return TeacherSource(distillation_terms(load_teacher(given.bundle).logits, asked))
        labels = SoftLabels(
            Path(str(asked.soft_labels)),
            given.labels,
            imitation.policy.head.codec,
            input=imitation.input,
            batch_size=imitation.run.batch_size,
            seed=imitation.seed,
        )
        return TeacherSource(distillation_terms(labels.logits, asked), labels)

    with imitation_setup(imitation, dataset, open_teacher=open_teacher) as setup:
        yield setup


def _compare(
    config: DistillConfig,
    location: RunLocation,
    dataset: Dataset,
    *,
    given: GivenTeacher,
    console: Console,
) -> int:
    """Trains the same student on hard labels, measures all, shows and writes the comparison."""
    hard_dir = location.run_dir / HARD
    alone = dataclasses.replace(config.distillation, alpha=0.0, compare=False)
    place = dataclasses.replace(config.run, run_dir=str(hard_dir), name=None)
    hard = dataclasses.replace(config, distillation=alone, run=place)
    is_begun = location.is_resuming and (hard_dir / run_folder.CONFIG_YAML).is_file()
    console.print(f"the same student without a teacher: {hard_dir}", markup=False)
    sources = describe_source(hard, dataset, given, notes=[])
    run = training_run(
        hard, RunLocation(hard_dir, is_resuming=is_begun), dataset, prog=PROG, sources=sources
    )
    outcome = run.train(functools.partial(make_setup, hard, dataset, given), console)
    if outcome.reason == "interrupted":
        return run.report(outcome, console, prog=PROG)
    policies = {HARD: hard_dir, "distilled": location.run_dir}
    if given.bundle is not None:
        policies["teacher"] = given.bundle
    folder = location.run_dir / COMPARISON
    asked = {
        name: EvaluateConfig(path, dataset.folder, output=folder / name, jit=config.run.jit)
        for name, path in policies.items()
    }
    _show(asked, folder, console)
    return 0


def _show(asked: dict[str, EvaluateConfig], folder: Path, console: Console) -> None:
    """Measures each policy as the evaluate command does, shows all in one table and writes it."""
    from exphil_tf.evaluation import comparison

    evaluations = {name: evaluate(config, console)[0] for name, config in asked.items()}
    path = folder / "comparison.json"
    atomic.write_json(path, {"policies": comparison.to_json(evaluations)})
    console.print("nats per frame on the validation split", comparison.table(evaluations), sep="\n")
    console.print(f" - {comparison.gained(evaluations, of='distilled', over=HARD)}")
    console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    run(main, sys.argv[1:])
