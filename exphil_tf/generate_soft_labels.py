"""Stores a teacher's answers to train students from, by `python -m exphil_tf.distill`.

    python -m exphil_tf.generate_soft_labels --teacher RUN --data DATASET --output DIR

Streams once over the training split, in bounded memory. Answers that are there already, of the same
teacher, data and options, are kept.
"""

import os
import sys
from collections.abc import Sequence

from beam_pipelines.cached_dataset import DatasetRequest
from exphil_tf.checkpoints import lock, provenance
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load_given
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command, make_console
from exphil_tf.records.manifest import MANIFEST
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.distill_config import SoftLabelsConfig, check_soft_labels
from exphil_tf.training.run_folder import find_bundle
from exphil_tf.training.soft_labels import describe_labels
from exphil_tf.training.train_config import check_dataset, found_data

PROG = "python -m exphil_tf.generate_soft_labels"


def main(argv: Sequence[str]) -> int:
    """Asks the teacher about the training split, unless that was done before."""
    loaded = load_given(SoftLabelsConfig, argv, prog=PROG)
    config = loaded.config
    check_soft_labels(config)
    atomic.require_unpublished(config.output, (atomic.CHECKSUMS, MANIFEST))
    console = make_console()
    bundle = find_bundle(config.teacher)
    data = found_data(config.data)
    request = DatasetRequest(data, config.input, config.filters, config.splits)
    dataset = request.open(console, environ=os.environ, dry_run=False)
    assert isinstance(dataset, Dataset)  # it is no dry run
    if config.data.data is not None:
        for note in check_dataset(config, dataset.manifest, given=loaded.given):
            console.print(f"note: {note}", markup=False)

    with quiet_import():
        from exphil_tf.training import distillation
        from exphil_tf.training.dataset_split import DatasetSplit
        from exphil_tf.training.soft_label_generation import SoftLabelGeneration
    teacher = distillation.load_teacher(bundle)
    codec = teacher.info.config.head.codec
    digest = provenance.manifest_sha256(dataset.manifest)
    distillation.check_teacher(teacher.info, config.input, codec)
    for note in distillation.teacher_notes(teacher.info, config.input, manifest_sha256=digest):
        console.print(f"note: {note}", markup=False)
    generation = SoftLabelGeneration(
        describe_labels(
            teacher.identity,
            codec,
            manifest_sha256=digest,
            config=config.input,
            passes=config.passes,
            seed=config.seed,
        ),
        config.output,
        teacher,
        DatasetSplit(
            dataset.manifest,
            dataset.folder,
            config.input,
            split="train",
            batch_size=config.batch_size,
            seed=config.seed,
            is_training=True,
        ),
        jit=config.jit,
    )
    with lock.hold(config.output):
        atomic.sweep(config.output)
        if generation.is_done(console, overwrite=config.overwrite):
            return 0
        labels = generation.run(console)
    console.print(
        f"{labels.unrolls:,} unrolls, {labels.labelled_frames:,} labelled frames: {config.output}"
    )
    words = ("--soft-labels", config.output, "--data", dataset.folder)
    console.print("Next:", command("python -m exphil_tf.distill", *words))
    return 0


if __name__ == "__main__":
    run(main, sys.argv[1:])
