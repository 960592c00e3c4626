"""Stores a teacher's answers to train students from, by `python -m exphil_tf.distill`.

    python -m exphil_tf.generate_soft_labels --teacher RUN --data DATASET --output DIR

Streams once over the training split, in bounded memory. Answers that are there already, of the same
teacher, data and options, are kept.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_tf.checkpoints import lock, provenance
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE
from exphil_tf.records.manifest import Manifest
from exphil_tf.train import open_dataset
from exphil_tf.training.distill_config import SoftLabelsConfig
from exphil_tf.training.run_folder import find_bundle
from exphil_tf.training.soft_labels import (
    LABELS,
    LabelsManifest,
    describe_labels,
    read_labels,
    write_manifest,
)
from exphil_tf.training.train_config import DataConfig, TrainConfig

if TYPE_CHECKING:
    from exphil_tf.training.distillation import Teacher

PROG = "python -m exphil_tf.generate_soft_labels"


def main(argv: Sequence[str]) -> int:
    """Asks the teacher about the training split, unless that was done before."""
    config = load(SoftLabelsConfig, argv, prog=PROG)
    console = make_console()
    bundle = find_bundle(config.teacher)
    reading = TrainConfig(data=DataConfig(data=str(config.data)), input=config.input)
    manifest = open_dataset(reading, console)[1]
    assert manifest is not None  # it was given, not to be preprocessed

    with quiet_import():
        from exphil_tf.training import distillation
    teacher = distillation.load_teacher(bundle)
    codec = teacher.info.config.head.codec
    digest = provenance.manifest_sha256(manifest)
    distillation.check_teacher(teacher.info, reading, codec)
    for note in distillation.remarks(teacher.info, reading, manifest_sha256=digest):
        console.print(f"note: {note}", markup=False)
    labels = describe_labels(
        teacher.identity,
        codec,
        manifest_sha256=digest,
        config=config.input,
        passes=config.passes,
        seed=config.seed,
    )
    with lock.hold(config.output):
        atomic.sweep(config.output)
        if _is_there(config, labels, console):
            return 0
        labels = _generate(config, labels, teacher=teacher, manifest=manifest, console=console)
    console.print(
        f"{labels.unrolls:,} unrolls, {labels.labelled_frames:,} labelled frames: {config.output}"
    )
    words = ("--soft-labels", config.output, "--data", config.data)
    console.print("Next:", command("python -m exphil_tf.distill", *words))
    return 0


def _is_there(config: SoftLabelsConfig, labels: LabelsManifest, console: Console) -> bool:
    """Whether these very labels are finished and sound.

    Raises: UserError: (73) if others are there that may not be replaced.
    """
    if not (config.output / LABELS).exists():
        return False
    try:
        found = read_labels(config.output)
    except UserError as error:
        console.print(f"note: {error.message}; making them anew", markup=False)
        return False
    if found.key() == labels.key():
        console.print(f"soft labels: {config.output} (made of these by this teacher before)")
        return True
    if not config.overwrite:
        differing = [name for name, value in labels.key().items() if found.key()[name] != value]
        raise UserError(
            f"--output: {config.output}: holds soft labels of another {', '.join(differing)}",
            "Choose another folder, or replace them by --overwrite.",
            exit_code=EXIT_CANNOT_CREATE,
        )
    return False


def _generate(
    config: SoftLabelsConfig,
    labels: LabelsManifest,
    *,
    teacher: Teacher,
    manifest: Manifest,
    console: Console,
) -> LabelsManifest:
    import tensorflow as tf

    from exphil_tf.data import input as data_input
    from exphil_tf.process.console import progress
    from exphil_tf.training import soft_label_records

    asked = {
        "folder": config.data,
        "split": "train",
        "batch_size": config.batch_size,
        "seed": config.seed,
        "training": True,
    }
    with data_input.named_shard_errors(manifest, folder=config.data, split="train"):
        sizes = [
            data_input.epoch_size(manifest, config.input, **asked, epoch=epoch)
            for epoch in range(config.passes)
        ]
        unrolls = sum(size.unrolls for size in sizes)
        build = tf.autograph.experimental.do_not_convert(data_input.build)
        ask = soft_label_records.ask_fn(teacher, teacher.info.config.head.codec, jit=config.jit)
        with (
            atomic.publish(config.output / LABELS) as folder,
            progress(console, unrolls, "answered", what="unrolls") as on_unrolls,
        ):
            shards = soft_label_records.write_records(
                folder,
                build(manifest, config.input, **asked),
                ask,
                count=unrolls,
                on_unrolls=on_unrolls,
            )
            frames = sum(size.labelled_frames for size in sizes)
            labels = dataclasses.replace(
                labels, unrolls=unrolls, labelled_frames=frames, shards=shards
            )
            write_manifest(folder, labels)
    return labels


if __name__ == "__main__":
    run(main, sys.argv[1:])
