"""A folder of soft labels: what it is made of, and whether it may be used.

DIR/labels/
  manifest.json            what the answers are: teacher, data, schema, codec, input options
  labels-00000.tfrecord    unrolls with the teacher's logits (`training.soft_label_records`)
  checksums.json           size and sha256 of each file
DIR/lock                   held while they are written

`labels/` appears in one rename once it is complete, so a folder that is there is whole. Free of
TensorFlow, as its input options decide others of the command line.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT

LABELS = "labels"
MANIFEST = "manifest.json"
FORMAT = "exphil-tf soft labels"
FORMAT_VERSION = 1
_GENERATE = "Generate them again: python -m exphil_tf.generate_soft_labels."


@dataclass(frozen=True)
class LabelsManifest:
    """What soft labels are: everything that decides them, and how many there are."""

    teacher: Mapping[str, Any]
    """`training.distillation.describe_teacher`."""
    manifest_sha256: str
    """Of the dataset."""
    schema_fingerprint: str
    row_bytes: int
    codec: Mapping[str, Any]
    """Values of the buckets that the logits are of."""
    input: Mapping[str, Any]
    """Every option of `InputConfig`."""
    passes: int
    """Passes over the training split that they hold."""
    seed: int
    unrolls: int = 0
    labelled_frames: int = 0
    """Frames with a loss weight."""
    shards: tuple[str, ...] = ()

    def key(self) -> dict[str, Any]:
        """What the labels are made of, without their counts: equal keys, equal labels."""
        counts = ("unrolls", "labelled_frames", "shards")
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in counts}


def describe_labels(
    teacher: Mapping[str, Any],
    codec: ControllerCodec,
    *,
    manifest_sha256: str,
    config: InputConfig,
    passes: int,
    seed: int,
) -> LabelsManifest:
    """The manifest of labels that are still to be written.

    Args:
      teacher: its identity.
      codec: the teacher's.
      manifest_sha256: of the dataset.
      config: how unrolls are cut and augmented.
      passes: over the training split.
      seed: of order, delays and augmentation.
    """
    return LabelsManifest(
        teacher=dict(teacher),
        manifest_sha256=manifest_sha256,
        schema_fingerprint=SCHEMA.fingerprint(),
        row_bytes=ROW_BYTES,
        codec=codec.bucket_values(),
        input={name: getattr(config, name) for name in options(InputConfig)},
        passes=passes,
        seed=seed,
    )


def write_manifest(folder: Path, manifest: LabelsManifest) -> None:
    """Writes `manifest.json` into a folder of labels."""
    values = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(manifest)}
    atomic.write_json(folder / MANIFEST, values)


def read_labels(place: Path) -> LabelsManifest:
    """The manifest of finished labels, after every byte of them was verified.

    Args:
      place: the folder that `generate_soft_labels` was given.

    Raises: UserError: if there are none (66), they are damaged or foreign (65), or of another
      schema or format (78).
    """
    folder = place / LABELS
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"--soft-labels: {place}: no finished soft labels here (no {LABELS}/{MANIFEST})",
            "Make some: python -m exphil_tf.generate_soft_labels.",
            exit_code=EXIT_NO_INPUT,
        )
    found = atomic.problems(folder)
    if found:
        raise _damaged(folder, found[0])
    try:
        values = json.loads((folder / MANIFEST).read_bytes())
        made_by = values.pop("format"), values.pop("format_version")
        if made_by != (FORMAT, FORMAT_VERSION):
            raise _incompatible(folder, f"want {FORMAT} {FORMAT_VERSION}. Received: {made_by}")
        manifest = LabelsManifest(**{**values, "shards": tuple(values["shards"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{MANIFEST}: {error}") from error
    if (manifest.schema_fingerprint, manifest.row_bytes) != (SCHEMA.fingerprint(), ROW_BYTES):
        want = f"want schema {SCHEMA.fingerprint()}"
        raise _incompatible(folder, f"{want}. Received: {manifest.schema_fingerprint}")
    return manifest


def check_labels(
    manifest: LabelsManifest,
    *,
    manifest_sha256: str,
    codec: ControllerCodec,
    teacher: Mapping[str, Any] | None,
) -> None:
    """Refuses labels that don't belong to a run.

    Args:
      manifest: of the labels.
      manifest_sha256: of the run's dataset.
      codec: the student's.
      teacher: identity of the teacher that was named beside the labels, if one was.

    Raises: UserError: (78) names what differs.
    """
    if manifest.manifest_sha256 != manifest_sha256:
        raise UserError(
            "--soft-labels: they were made of another dataset",
            "Give --data the one they were made of, or make new ones.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    mine = codec.bucket_values()
    for name, flag in (
        ("axis_centres", "--axis-buckets or --kmeans-centers"),
        ("shoulder_centres", "--shoulder-buckets"),
    ):
        theirs = manifest.codec[name]
        if theirs != mine[name]:
            raise UserError(
                f"--soft-labels: want the {len(theirs)} {name} of their teacher. "
                f"Received: {len(mine[name])}" + " others" * (len(theirs) == len(mine[name])),
                f"Choose {flag} as the teacher has them.",
                exit_code=EXIT_INCOMPATIBLE,
            )
    names = ("weights_sha256", "policy_sha256")
    if teacher is not None and any(teacher[n] != manifest.teacher.get(n) for n in names):
        raise UserError(
            "--soft-labels: these are the answers of another teacher than --teacher",
            "Leave --teacher out, or name the one that answered.",
            exit_code=EXIT_INCOMPATIBLE,
        )


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(f"{folder}: not sound soft labels: {reason}", _GENERATE, exit_code=EXIT_DATA)


def _incompatible(folder: Path, reason: str) -> UserError:
    return UserError(f"{folder}: {reason}", _GENERATE, exit_code=EXIT_INCOMPATIBLE)
