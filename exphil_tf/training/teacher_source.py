"""Who teaches a student: a trained policy that is asked, or stored logits of one.

Free of TensorFlow until something is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation import atomic
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.training.distill_config import DistillationConfig
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_folder import find_bundle
from exphil_tf.training.soft_labels import LABELS, LabelsManifest, check_labels, read_labels

if TYPE_CHECKING:
    from exphil_tf.training.imitation_setup import Supervision


class TeacherDescription(NamedTuple):
    """A teacher as a run's record has it."""

    content: dict[str, Any]
    """Plain values that name it, and its stored logits, by content."""
    notes: list[str]
    """Sentences about conditions that differ from those of its own training."""


@dataclass(frozen=True)
class TeacherSource:
    """A teacher as the options name it."""

    bundle: Path | None
    """Of the teacher, if one was named."""
    place: Path | None
    """The folder of soft labels, which are used if there are any."""
    labels: LabelsManifest | None
    """Theirs."""

    @classmethod
    def find(cls, config: DistillationConfig) -> TeacherSource:
        """What the options name.

        Raises: UserError: if it is missing, or labels are damaged.
        """
        place = Path(config.soft_labels) if config.soft_labels else None
        labels = None if place is None else read_labels(place)
        bundle = find_bundle(Path(config.teacher)) if config.teacher else None
        return cls(bundle, place, labels)

    def describe(
        self, reading: InputConfig, codec: ControllerCodec, *, manifest_sha256: str
    ) -> TeacherDescription:
        """What a run's record says of the teacher.

        Args:
          reading: how the student reads the dataset.
          codec: of the student.
          manifest_sha256: of the dataset.

        Raises: UserError: if the teacher, its logits and the student don't fit together.
        """
        with quiet_import():
            from exphil_tf.checkpoints.policy_bundle import read_info
            from exphil_tf.training import distillation

        identity: dict[str, Any] | None = None
        notes: list[str] = []
        if self.bundle is not None:
            info = read_info(self.bundle)
            identity = distillation.describe_teacher(self.bundle, info)
            distillation.check_teacher(info, reading, codec)
            notes = distillation.teacher_notes(info, reading, manifest_sha256=manifest_sha256)
        if self.labels is not None:
            check_labels(
                self.labels, manifest_sha256=manifest_sha256, codec=codec, teacher=identity
            )
            identity = dict(self.labels.teacher)
        content = {"teacher": identity, "soft_labels_sha256": self._labels_sha256()}
        return TeacherDescription(content, notes)

    def _labels_sha256(self) -> str | None:
        """Of the list of the labels' checksums, which covers every byte of them."""
        return self.place and atomic.sha256(self.place / LABELS / atomic.CHECKSUMS)

    def open(self, config: DistillationConfig, student: ImitationConfig) -> Supervision:
        """Loads the teacher, under the precision that is set, or opens its stored logits."""
        from exphil_tf.training.distillation import distillation_terms, load_teacher
        from exphil_tf.training.imitation_setup import Supervision
        from exphil_tf.training.soft_label_records import SoftLabels

        if self.place is not None and self.labels is not None:
            labels = SoftLabels(
                self.place,
                self.labels,
                student.policy.head.codec,
                input=student.input,
                batch_size=student.run.batch_size,
                seed=student.seed,
            )
            return Supervision(distillation_terms(labels.logits, config), labels)
        if self.bundle is None:
            raise ValueError("teacher: want a bundle or soft labels. Received: neither")
        teacher = load_teacher(
            self.bundle,
            carried_rows=student.carried_rows,
            carried_turns=student.input.cursors_per_row,
        )
        carried = {} if teacher.carried is None else teacher.carried.variables
        return Supervision(distillation_terms(teacher.logits, config, carried=carried))
