"""Makes a folder of soft labels: a teacher's logits for whole passes over a training split."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.console import progress
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE
from exphil_tf.training.dataset_split import DatasetSplit
from exphil_tf.training.distillation import Teacher
from exphil_tf.training.soft_label_records import compile_stored_logits, write_records
from exphil_tf.training.soft_labels import LABELS, LabelsManifest, read_labels, write_manifest


@dataclass(frozen=True)
class SoftLabelGeneration:
    """What is asked of a teacher, and where its logits go."""

    wanted: LabelsManifest
    """What the labels will be, without their counts."""
    place: Path
    """The folder for them, which is held meanwhile."""
    teacher: Teacher
    data: DatasetSplit
    """The training split, as it will be read."""
    jit: bool = True
    """Compile with XLA."""

    def is_done(self, console: Console, *, overwrite: bool) -> bool:
        """Whether these very labels are there, finished and sound.

        Raises: UserError: (73) if others are there that may not be replaced.
        """
        if not (self.place / LABELS).exists():
            return False
        try:
            found = read_labels(self.place)
        except UserError as error:
            console.print(f"note: {error.message}; making them anew", markup=False)
            return False
        wanted, has = self.wanted.key(), found.key()
        if has == wanted:
            console.print(f"soft labels: {self.place} (made of these by this teacher before)")
            return True
        if not overwrite:
            differing = [name for name, value in wanted.items() if has[name] != value]
            raise UserError(
                f"--output: {self.place}: holds soft labels of another {', '.join(differing)}",
                "Choose another folder, or replace them by --overwrite.",
                exit_code=EXIT_CANNOT_CREATE,
            )
        return False

    def run(self, console: Console) -> LabelsManifest:
        """Streams once over the passes, in bounded memory; returns the finished manifest.

        Raises: UserError: if a shard is damaged, or a logit is NaN or infinite; OSError: if the
          disk is full.
        """
        codec = self.teacher.info.config.head.codec
        with self.data.named_errors():
            sizes = [self.data.epoch_size(epoch) for epoch in range(self.wanted.passes)]
            unrolls = sum(size.unrolls for size in sizes)
            with (
                atomic.publish(self.place / LABELS) as folder,
                progress(console, unrolls, "answered", what="unrolls") as on_unrolls,
            ):
                shards = write_records(
                    folder,
                    self.data.batches(),
                    compile_stored_logits(self.teacher.logits, codec, jit=self.jit),
                    count=unrolls,
                    on_unrolls=on_unrolls,
                )
                manifest = dataclasses.replace(
                    self.wanted,
                    unrolls=unrolls,
                    labelled_frames=sum(size.labelled_frames for size in sizes),
                    shards=shards,
                )
                write_manifest(folder, manifest)
        return manifest
