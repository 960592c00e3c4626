"""A small policy from a trained one: `python -m exphil_tf.distill --teacher RUN --data DATASET`.

The student is trained as `exphil_tf.train` trains, by the same options into the same kind of run
folder, with a teacher in its loss (`training.distillation`). The teacher answers in the student's
own compiled step; `--soft-labels` takes stored answers instead. `--compare` also trains the student
without a teacher, and measures what that was worth.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping, Sequence
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
from exphil_tf.records.manifest import Manifest
from exphil_tf.train import (
    Recipe,
    dry_run,
    open_dataset,
    report,
    say_next,
    train,
    with_seed,
)
from exphil_tf.training import run_folder
from exphil_tf.training.distill_config import DistillConfig, check_distillation, with_input_of
from exphil_tf.training.run_folder import Target, find_bundle
from exphil_tf.training.run_options import read_run
from exphil_tf.training.soft_labels import LABELS, LabelsManifest, check_labels, read_labels
from exphil_tf.training.train_config import check_dataset, resolve

if TYPE_CHECKING:
    from exphil_tf.training.distillation import DistillSession

PROG = "python -m exphil_tf.distill"
HARD = "hard-labels"
"""Folder in the run's folder for the run of --compare that has no teacher."""
COMPARISON = "comparison"


def main(argv: Sequence[str]) -> int:
    """Distils as the arguments say; returns the exit code."""
    loaded, target = read_run(DistillConfig, argv, prog=PROG)
    config, notes = resolve(loaded.config)
    notes += check_distillation(config)
    console = make_console()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    config, labels = with_labels(config, loaded.given)
    bundle = find_bundle(Path(config.distillation.teacher)) if config.distillation.teacher else None
    data_dir, manifest = open_dataset(config, console)
    if manifest is None:  # a dry run on replays that have not been preprocessed
        return 0
    notes += [*target.remarks(), *check_dataset(config, manifest, given=loaded.given)]
    if config.distillation.compare and not manifest.frames("validation"):
        raise UserError(
            "--compare: this dataset has no validation split to measure on",
            "Preprocess with --val-split, or leave --compare out.",
            exit_code=EXIT_NO_INPUT,
        )
    lesson = Lesson(bundle, labels)
    config = with_seed(config)
    recipe = lesson.recipe(config, manifest, notes)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"run: {target.run_dir}  seed: {config.run.seed}  data: {data_dir}")
    if config.run.dry_run:
        return dry_run(recipe.make_session(config, manifest, data_dir), console)
    outcome = train(config, target, manifest, data_dir=data_dir, recipe=recipe, console=console)
    code = report(outcome, target, console=console, prog=PROG)
    if not code and config.distillation.compare:
        code = _compare(config, target, manifest, data_dir=data_dir, lesson=lesson, console=console)
    if not code:
        say_next(console, target, data_dir)
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


@dataclasses.dataclass(frozen=True)
class Lesson:
    """Who teaches: a policy that is asked, or what one answered."""

    bundle: Path | None
    """Of the teacher, if one was named."""
    labels: LabelsManifest | None
    """Of stored answers, which are used if there are any."""

    def recipe(self, config: DistillConfig, manifest: Manifest, notes: list[str]) -> Recipe:
        """What training needs to know of the lesson.

        Args:
          config: resolved.
          manifest: of the dataset.
          notes: sentences about the teacher are added here.

        Raises: UserError: if the teacher, its answers and the student don't fit together.
        """
        with quiet_import():
            from exphil_tf.checkpoints.policy_bundle import read_info
            from exphil_tf.training.distillation import check_teacher, describe_teacher, remarks

        codec = config.policy().head.codec
        digest = provenance.manifest_sha256(manifest)
        identity: dict[str, Any] | None = None
        if self.bundle is not None:
            info = read_info(self.bundle)
            identity = describe_teacher(self.bundle, info)
            check_teacher(info, config, codec)
            notes += remarks(info, config, manifest_sha256=digest)
        if self.labels is not None:
            check_labels(self.labels, manifest_sha256=digest, codec=codec, teacher=identity)
            identity = dict(self.labels.teacher)
        source = {
            "teacher": identity,
            "alpha": config.distillation.alpha,
            "temperature": config.distillation.temperature,
            "soft_labels_sha256": self._labels_sha256(config),
        }
        return Recipe(PROG, {"distillation": source}, self.make_session)

    def make_session(
        self, config: DistillConfig, manifest: Manifest, data_dir: Path
    ) -> DistillSession:
        """The run's parts; the teacher is loaded under the run's precision."""
        with quiet_import():
            from exphil_tf.training.distillation import DistillSession, load_teacher
            from exphil_tf.training.session import prepare_process
            from exphil_tf.training.soft_label_records import SoftLabels

        prepare_process(config)
        if self.labels is not None:
            place = Path(str(config.distillation.soft_labels))
            answers = SoftLabels(place, self.labels, config.policy().head.codec)
        else:
            assert self.bundle is not None  # `check_distillation` saw to it
            answers = load_teacher(self.bundle)
        return DistillSession(config, manifest, data_dir, answers=answers)

    @staticmethod
    def _labels_sha256(config: DistillConfig) -> str | None:
        """Of the list of the labels' checksums, which covers every byte of them."""
        place = config.distillation.soft_labels
        return atomic.sha256(Path(place) / LABELS / atomic.CHECKSUMS) if place else None


def _compare(
    config: DistillConfig,
    target: Target,
    manifest: Manifest,
    *,
    data_dir: Path,
    lesson: Lesson,
    console: Console,
) -> int:
    """Trains the same student on hard labels, measures all, shows and writes the comparison."""
    hard_dir = target.run_dir / HARD
    alone = dataclasses.replace(config.distillation, alpha=0.0, compare=False)
    place = dataclasses.replace(config.run, run_dir=str(hard_dir), name=None)
    hard = dataclasses.replace(config, distillation=alone, run=place)
    is_begun = target.is_resuming and (hard_dir / run_folder.CONFIG_YAML).is_file()
    console.print(f"the same student without a teacher: {hard_dir}", markup=False)
    outcome = train(
        hard,
        Target(hard_dir, is_resuming=is_begun),
        manifest,
        data_dir=data_dir,
        recipe=lesson.recipe(hard, manifest, []),
        console=console,
    )
    if outcome.reason == "interrupted":
        return report(outcome, target, console=console, prog=PROG)
    policies = {HARD: hard_dir, "distilled": target.run_dir}
    if lesson.bundle is not None:
        policies["teacher"] = lesson.bundle
    folder = target.run_dir / COMPARISON
    asked = {
        name: EvaluateConfig(path, data_dir, output=folder / name, jit=config.run.jit)
        for name, path in policies.items()
    }
    _show(asked, folder, console)
    return 0


def _show(asked: dict[str, EvaluateConfig], folder: Path, console: Console) -> None:
    """Measures each policy as the evaluate command does, shows all in one table and writes it."""
    import keras

    from exphil_tf.evaluation import comparison

    keras.config.set_dtype_policy("float32")  # training may have set another
    evaluations = {name: evaluate(config, console)[0] for name, config in asked.items()}
    path = folder / "comparison.json"
    atomic.write_json(path, {"policies": comparison.to_json(evaluations)})
    console.print("nats per frame on the validation split", comparison.table(evaluations), sep="\n")
    console.print(f" - {comparison.gained(evaluations, of='distilled', over=HARD)}")
    console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    run(main, sys.argv[1:])
