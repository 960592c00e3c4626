"""The set of fields as a whole: names, fingerprint, comparison, checks.

The fields themselves are declared in `exphil_tf.features.fields`; the words they are declared with
live in `exphil_tf.features.field`.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exphil_tf.features.field import (
    ITEM_SLOTS,
    PLAYERS,
    SHAPES,
    Embed,
    EmbedKind,
    Field,
    Group,
    Mirror,
    Store,
)
from exphil_tf.features.fields import FIELDS
from exphil_tf.melee.types import FIRST_FRAME, Frames

__all__ = [
    "CONVENTIONS",
    "ITEM_SLOTS",
    "PLAYERS",
    "SCHEMA",
    "SHAPES",
    "SPOILED",
    "Embed",
    "EmbedKind",
    "Field",
    "Group",
    "Mirror",
    "Schema",
    "Store",
    "column_problems",
]

CONVENTIONS = 2
"""Raised when a field keeps its name but changes its meaning, so that old data stops matching."""
SPOILED = 0x80
"""Bit of `absent`: the row is filled in or a value of it was masked; it gives no label."""


@dataclass(frozen=True)
class Schema:
    """An ordered set of fields with unique names."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        """Refuses what cannot hold: names, mirror partners, presence, versions for a byte."""
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"schema: want unique names. Received: {sorted(names)}")
        if max(self.absent_bits.values(), default=0) >= SPOILED:
            raise ValueError(f"schema: want 7 versions at most. Received: {[*self.absent_bits]}")
        for field in self.fields:
            self._check_mirror(field)
            self._check_presence(field)

    def _check_mirror(self, field: Field) -> None:
        if field.mirror is Mirror.SWAP and self.field(field.mirror_with).mirror_with != field.name:
            raise ValueError(
                f"schema.{field.name}: its mirror partner {field.mirror_with!r} must name it back"
            )
        if field.mirror in (Mirror.SIDES, Mirror.COUNT) and (
            self.field(field.mirror_with).shape != field.shape
        ):
            raise ValueError(
                f"schema.{field.name}: want a value for each in its {field.mirror_with!r}"
            )

    def _check_presence(self, field: Field) -> None:
        if not field.present:
            return
        flag = self.field(field.present)
        if (flag.shape, flag.low, flag.high, flag.present) != (field.shape, 0, 1, ""):
            raise ValueError(
                f"schema.{field.name}: want a flag of its shape that says if it is there. "
                f"Received: {field.present!r}"
            )
        if field.noise:
            raise ValueError(f"schema.{field.name}: noise would fall on what is absent")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(field.name for field in self.fields)

    def field(self, name: str) -> Field:
        """The field called `name`; KeyError if there is none."""
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @functools.cached_property
    def absent_bits(self) -> dict[tuple[int, int], int]:
        """Version that added columns → its bit in `absent`, lowest first; `SPOILED` is above."""
        versions = sorted({field.since for field in self.fields} - {(0, 0)})
        return {version: 1 << bit for bit, version in enumerate(versions)}

    def absent_bit(self, field: Field) -> int:
        """The bit of `absent` that marks a field; 0 for one that every version records."""
        return self.absent_bits.get(field.since, 0)

    def group(self, group: Group) -> tuple[Field, ...]:
        """Fields of one group, in order."""
        return tuple(field for field in self.fields if field.group is group)

    def digests(self) -> dict[str, str]:
        """Name → digest.

        Travels with every artefact so that a mismatch can name the differing fields.
        """
        return {field.name: field.digest() for field in self.fields}

    def fingerprint(self) -> str:
        """Hash of all fields, their order and `CONVENTIONS`."""
        return _fingerprint(self.fields)

    def differences(self, digests: Mapping[str, str]) -> list[str]:
        """Readable differences between this schema and the digests of another."""
        own = self.digests()
        lines = [f"{name}: missing there" for name in own if name not in digests]
        lines += [f"{name}: unknown here" for name in digests if name not in own]
        lines += [
            f"{name}: defined differently"
            for name in own
            if digests.get(name, own[name]) != own[name]
        ]
        return lines

    def empty(self, num_frames: int) -> dict[str, np.ndarray]:
        """Zeroed columns for `num_frames` frames; the frame ids count from -123."""
        columns = self.zeros(num_frames)
        columns["frame"] += np.arange(num_frames, dtype=np.int32) + FIRST_FRAME
        return columns

    def zeros(self, *lead: int) -> dict[str, np.ndarray]:
        """Zeroed columns `[*lead, *field.shape]`."""
        zeros = np.zeros
        return {name: zeros(lead + shape, dtype) for name, shape, dtype in self._columns}

    @functools.cached_property
    def _columns(self) -> list[tuple[str, tuple[int, ...], np.dtype]]:
        """Name, trailing shape and dtype of each field: live play asks on every frame."""
        return [(field.name, field.shape, np.dtype(field.dtype)) for field in self.fields]

    def mismatch(self, fingerprint: object, digests: Mapping[str, str]) -> str:
        """The sentence that refuses an artefact of another schema, with the first differences."""
        lines = self.differences(digests) or ["order of fields or conventions"]
        shown = "; ".join(lines[:8]) + ("; …" if len(lines) > 8 else "")
        return f"want schema {self.fingerprint()}. Received: {fingerprint!s:.40} ({shown})"

    def check(self, frames: Frames) -> list[str]:
        """Problems of dtype, shape, range and finiteness, one line each.

        Empty if the frames are sound.
        """
        problems = [f"{name}: unknown column" for name in frames if name not in self.names]
        for field in self.fields:
            if field.name not in frames.columns:
                problems.append(f"{field.name}: missing")
            else:
                problems.extend(column_problems(field, frames[field.name], len(frames)))
        return problems


@functools.cache
def _fingerprint(fields: tuple[Field, ...]) -> str:
    facts = [CONVENTIONS, [[field.name, field.digest()] for field in fields]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def column_problems(field: Field, column: np.ndarray, length: int) -> list[str]:
    """What is wrong with a field's column of `length` frames, in one line; empty if nothing is."""
    want = (length, *field.shape)
    if column.dtype != np.dtype(field.dtype) or column.shape != want:
        return [
            f"{field.name}: want {field.dtype}{list(want)}. "
            f"Received: {column.dtype}{list(column.shape)}"
        ]
    if not column.size:
        return []
    low, high = column.min(), column.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return [f"{field.name}: holds NaN or infinity"]
    if low < field.low or high > field.high:
        return [
            f"{field.name}: want {field.low:g} to {field.high:g} {field.unit}. "
            f"Received: {low:g} to {high:g}"
        ]
    return []


SCHEMA = Schema(FIELDS)
"""The schema of this version."""
