"""Which rows of a replay make up the game, and which of them are not to be trusted.

A game is one row per frame id, without gaps. Of a frame that was played again after a rollback one
version counts; frames behind the last row are predictions that a rollback had undone when the file
ended, so they are left out. A *hole*, some frame ids without a row, is filled with the row before
it (at a game's start, which is the same for all, with the first one). A value that the game cannot
produce is *masked* by the value of the row before it. Rows that were filled or masked are
*spoiled*: they carry memory over, but give no label. A game of more than `MAX_SPOILED` such rows is
refused: damage so dense says that the rest is not sound either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from exphil_tf.features.schema import SCHEMA, SPOILED, Field, column_problems
from exphil_tf.melee.types import FIRST_FRAME
from exphil_tf.replays.refusals import Reason, ReplayError

Version = Literal["last", "first"]
"""Which version of a rolled-back frame to keep; training wants "last", libmelee gives "first"."""
MAX_SPOILED = 0.02
"""Share of a game's rows that may be spoiled (and one row more, for short games)."""
MAX_HOLE_FRAMES = 30
"""Longest run of frames that is filled; what follows a longer one is another situation."""


class Rows(NamedTuple):
    """A game's rows.

    Attributes:
      source: which rows of the file, int64 `[frames]`, or a slice that takes all.
      frame: int32 `[frames]`, ascending by one.
      filled: bool `[frames]`: not in the file; the row before stands there instead.
    """

    source: np.ndarray | slice
    frame: np.ndarray
    filled: np.ndarray


def _limit(num_frames: int) -> int:
    """Spoiled rows that a game may have."""
    return 1 + int(MAX_SPOILED * num_frames)


def sound_prefix(frame_id: np.ndarray) -> int:
    """Number of leading rows in whose holes nothing speaks against going on.

    Args:
      frame_id: int32 `[rows]`, with repeats where the game rolled back.
    """
    count = len(frame_id)
    while count:
        highest = np.maximum.accumulate(frame_id[:count].astype(np.int64))
        missing = np.maximum(np.diff(highest, prepend=highest[0] - 1) - 1, 0)
        length = int(highest[-1] - highest[0]) + 1
        bad = (missing > MAX_HOLE_FRAMES) | (np.cumsum(missing) > _limit(length))
        if not bad.any():
            break
        count = int(np.argmax(bad))
    return count


def select_rows(frame_id: np.ndarray, version: Version) -> Rows:
    """Rows to keep so that each frame occurs once, ascending.

    Args:
      frame_id: int32 `[rows]`, with repeats where the game rolled back.
      version: which of the repeats.

    Raises:
      ReplayError: no_frames; frame_gap if a hole is too long or there are too many.
    """
    if not len(frame_id):
        raise ReplayError(Reason.NO_FRAMES, "not one whole frame")
    low, high = int(frame_id.min()), int(frame_id[-1])
    if 0 < low - FIRST_FRAME <= MAX_HOLE_FRAMES:
        low = FIRST_FRAME
    length = high - low + 1
    if length == len(frame_id) and (np.diff(frame_id) == 1).all():
        return Rows(slice(None), frame_id.astype(np.int32), np.zeros(length, bool))
    if length > len(frame_id) + _limit(length):
        raise ReplayError(Reason.FRAME_GAP, f"{len(frame_id)} frames numbered {low} to {high}")
    rows = np.full(length, -1)
    index = np.flatnonzero(frame_id <= high)
    if version == "first":
        index = index[::-1]
    rows[frame_id[index] - low] = index
    filled = rows < 0
    _check_holes(filled, low)
    before = np.maximum.accumulate(np.where(filled, np.argmin(filled), np.arange(length)))
    return Rows(rows[before], np.arange(low, high + 1, dtype=np.int32), filled)


def _check_holes(filled: np.ndarray, first_frame: int) -> None:
    run = np.arange(len(filled)) - np.maximum.accumulate(
        np.where(filled, -1, np.arange(len(filled)))
    )
    if filled.sum() > _limit(len(filled)) or run.max() > MAX_HOLE_FRAMES:
        missing = first_frame + int(np.argmax(filled))
        raise ReplayError(
            Reason.FRAME_GAP, f"{filled.sum()} frames are missing, the first is {missing}"
        )


def mask(columns: Mapping[str, np.ndarray], filled: np.ndarray) -> dict[str, np.ndarray]:
    """Masks implausible values and marks spoiled rows in `absent`.

    Args:
      columns: the schema's, of its dtypes and shapes.
      filled: bool `[frames]`, see `Rows`.

    Returns: the columns; those that needed no change are the same arrays.

    Raises:
      ReplayError: out_of_range if too many rows are spoiled, with the first offending column.
    """
    result, spoiled, first = dict(columns), filled.copy(), ""
    for field in SCHEMA.fields:
        bad = _implausible(field, columns[field.name])
        if bad is None:
            continue
        spoiled |= bad.reshape(len(bad), -1).any(axis=1)
        first = first or column_problems(field, columns[field.name], len(bad))[0]
        result[field.name] = _hold(columns[field.name], bad)
    stock = result["p.stock"]
    bad = _gains(stock)
    if bad.any():
        spoiled |= bad.any(axis=1)
        first = first or "p.stock: a player gained a stock"
        result["p.stock"] = _hold(stock, bad)
    if spoiled.sum() > _limit(len(spoiled)):
        raise ReplayError(Reason.OUT_OF_RANGE, f"{first} ({spoiled.sum()} frames are spoiled)")
    result["absent"] = result["absent"] | np.where(spoiled, SPOILED, 0).astype(np.uint8)
    return result


def _implausible(field: Field, column: np.ndarray) -> np.ndarray | None:
    """Bool, as the column: values outside the field's range; None if there are none."""
    if not column.size or (column.min() >= field.low and column.max() <= field.high):
        return None  # a NaN fails both comparisons
    with np.errstate(invalid="ignore"):
        return ~((column >= field.low) & (column <= field.high))


def _hold(column: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """The column with each bad value replaced by the last good one of its cell before it.

    The first good one where there is none before, and 0 where there is none at all.
    """
    order = np.arange(len(column)).reshape(-1, *[1] * (column.ndim - 1))
    before = np.maximum.accumulate(np.where(bad, -1, order), axis=0)
    source = np.where(before >= 0, before, np.argmin(bad, axis=0))
    held = np.take_along_axis(column, source, axis=0)
    return np.where(np.take_along_axis(bad, source, axis=0), column.dtype.type(0), held)


def _gains(stock: np.ndarray) -> np.ndarray:
    """Bool `[time, players]`: stocks out of line with a count that only falls.

    A count that is too high for one before it, or one too low for those behind: whichever blames
    fewer frames.
    """
    high = stock > np.minimum.accumulate(stock, axis=0)
    low = stock < np.maximum.accumulate(stock[::-1], axis=0)[::-1]
    return np.where(high.sum(axis=0) <= low.sum(axis=0), high, low)
