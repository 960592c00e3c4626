"""How games are cut into unrolls, and how many an epoch has: index arithmetic, no rows touched.

Vocabulary. An *unroll* is `window` consecutive states of one game as one player sees it. With
`delay`, the state in row r is answered by the controller of row r + 1 + delay, its *target*. A
frame is *labelled* if its loss weight is not 0.

Where unrolls start. Rows of a game are cut on one grid, `stride` apart from row `phase` on; an
unroll belongs to the record (chunk) that owns its first row, and the record's overlap holds the
rest of it. So chunk borders cost nothing. Where the overlap is too short for that (`window + delay
> overlap`), each chunk is cut by itself and the last unroll of a chunk labels only what the next
chunk does not. In both cases, with `stride = window - burn_in`, every valid (frame, player) is
labelled exactly once an epoch.

Which frames are valid. The target must exist in the game, and must be an input the game listens to:
players act from frame -39 ("GO!"), so targets before row 84 have weight 0. The first `burn_in`
states of an unroll only warm the memory up, unless the unroll starts with the game, where a live
policy starts with empty memory too. Spoiled rows (`exphil_tf.replays.rows`), as state or as target,
have weight 0 as well (`exphil_tf.data.batches`); lengths of epochs do not subtract these few.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.melee.types import FIRST_FRAME, GO_FRAME

GO_ROW = GO_FRAME - FIRST_FRAME
"""Row of the first frame at which players may act."""
_SLOTS_AT_ONCE = 1 << 22
"""Possible starts of unrolls that are counted together: bounds memory."""


class Grid(NamedTuple):
    """How games are cut into unrolls; lengths in frames."""

    window: int
    stride: int
    burn_in: int
    last_only: bool
    """Label the last state of an unroll only, as a window model does."""
    delay_min: int
    delay_max: int
    chunk: int
    overlap: int

    @property
    def unlabelled(self) -> int:
        """States at the start of an unroll that another unroll labels."""
        return self.window - 1 if self.last_only else self.burn_in

    @property
    def spans_chunks(self) -> bool:
        """Whether the overlap suffices to cut whole games rather than each chunk."""
        return self.window + self.delay_max <= self.overlap

    @property
    def num_slots(self) -> int:
        """Unrolls that may start in one chunk."""
        return -(-self.chunk // self.stride)

    @property
    def max_phase(self) -> int:
        """Largest shift of the grid that unlabels no frame: those before GO are free."""
        if not self.spans_chunks or self.last_only:
            return 0
        return max(0, min(self.stride - 1, GO_ROW - 1 - self.delay_max - self.burn_in))

    def phase(self, epoch: Any, seed: int) -> Any:
        """Shift of the grid in an epoch, an int or an int64 tensor as `epoch` is.

        Epochs so see a frame with contexts of other lengths. The golden ratio spreads few epochs
        evenly; plain integers, so that counts agree with the graph.
        """
        golden = epoch * 40503 + seed % 65536
        return golden % 65536 * (self.max_phase + 1) // 65536


class Records(NamedTuple):
    """Small features of records, int64 `[records]`."""

    valid: Any
    """Rows present, overlap included."""
    start: Any
    """Row of the game at which the record starts."""
    perspectives: Any
    """Bit p: player p may be imitated."""


class Starts(NamedTuple):
    """Where unrolls may start in records, `[records, slots]`."""

    first: Any
    """int64, row of the record."""
    is_unroll: Any
    """bool, whether one starts there: it can label a frame and belongs to this record."""


def labelled_span(grid: Grid, of: Records, *, first: Any, delay: Any, xp: Any) -> tuple[Any, Any]:
    """First labelled state of each unroll and the one behind the last; none unless `low < high`.

    Args:
      grid: how games are cut.
      of: int64, the features of each unroll's record.
      first: int64, row of the record at which the unroll starts.
      delay: frames between a state and the input it answers, minus 1.
      xp: numpy or tensorflow, whichever made the arrays.
    """
    row = of.start + first
    if grid.last_only:
        low = row * 0 + (grid.window - 1)
    else:
        low = xp.where(row == 0, row, row * 0 + grid.burn_in)
    low = xp.maximum(low, GO_ROW - 1 - delay - row)
    high = xp.minimum(of.valid - 1 - delay - first, grid.window)
    if not grid.spans_chunks:
        high = xp.minimum(high, grid.chunk + grid.unlabelled - first)
    return low, high


def find_starts(grid: Grid, records: Records, phase: Any, *, xp: Any) -> Starts:
    """Every start of an unroll of some records.

    Which there are does not depend on random delays, so an epoch's length is known beforehand; at
    a game's end an unroll may draw a delay that leaves it nothing to label.
    """
    column = Records(*(feature[:, None] for feature in records))
    steps = np.arange(grid.num_slots, dtype=np.int64) * grid.stride
    offset = (phase - column.start) % grid.stride if grid.spans_chunks else column.start * 0
    first = offset + steps
    low, _ = labelled_span(grid, column, first=first, delay=grid.delay_max, xp=xp)
    _, high = labelled_span(grid, column, first=first, delay=grid.delay_min, xp=xp)
    is_owned = first < xp.minimum(column.valid, grid.chunk)
    return Starts(first, is_owned & (low < high) & (column.start + first >= phase))


class GameLength(NamedTuple):
    """Games that are cut alike."""

    perspectives: int
    """Bit p: player p may be imitated."""
    frames: int
    games: int
    """How many there are."""


def count_unrolls(grid: Grid, lengths: Iterable[GameLength], phase: int = 0) -> tuple[int, int]:
    """Unrolls and labelled frames of games in one epoch, over all perspectives.

    With random delays the number of labelled frames is the mean of those at the least and the
    greatest delay.
    """
    records, copies = _records(grid, list(lengths))
    unrolls = twice_frames = 0
    at_once = max(1, _SLOTS_AT_ONCE // grid.num_slots)
    for begin in range(0, len(copies), at_once):
        part = slice(begin, begin + at_once)
        some = Records(*(feature[part] for feature in records))
        first, is_unroll = find_starts(grid, some, phase, xp=np)
        unrolls += int(is_unroll.sum(axis=1) @ copies[part])
        column = Records(*(feature[:, None] for feature in some))
        for delay in (grid.delay_min, grid.delay_max):
            low, high = labelled_span(grid, column, first=first, delay=delay, xp=np)
            frames = np.where(is_unroll, np.maximum(high - low, 0), 0).sum(axis=1)
            twice_frames += int(frames @ copies[part])
    return unrolls, round(twice_frames / 2)


def game_unrolls(grid: Grid, frames: Any, *, xp: Any) -> tuple[Any, Any]:
    """Unrolls of games that are walked through from their first row, and their labelled frames.

    Unrolls begin with the game, before any label, as memory does in play. None where no frame has
    a label. Unrolls are counted for the least delay, so that their number does not depend on draws;
    labelled frames are those at the least and at the greatest, together.

    Args:
      grid: how games are cut.
      frames: int64 `[games]`, rows of each.
      xp: numpy or tensorflow, whichever made `frames`.

    Returns: int64 `[games]` each.
    """
    least, most = (
        xp.maximum(frames - 1 - delay - max(0, GO_ROW - 1 - delay), 0)
        for delay in (grid.delay_min, grid.delay_max)
    )
    unrolls = -(-(frames - 1 - grid.delay_min) // grid.window)
    return xp.where(least > 0, unrolls, unrolls * 0), least + most


def count_game_unrolls(grid: Grid, lengths: Iterable[GameLength]) -> tuple[int, int]:
    """As `count_unrolls`, of games that are walked through."""
    perspectives, frames, games = np.array(list(lengths), np.int64).reshape(-1, 3).T
    views = games * ((perspectives & 1) + (perspectives >> 1 & 1))
    unrolls, twice_frames = game_unrolls(grid, frames, xp=np)
    return int(unrolls @ views), round(int(twice_frames @ views) / 2)


def _records(grid: Grid, lengths: list[GameLength]) -> tuple[Records, np.ndarray]:
    """The records of one game of each length, and how many views of it there are, int64."""
    perspectives, frames, games = np.array(lengths, np.int64).reshape(-1, 3).T
    counts = -(-frames // grid.chunk)
    game = np.repeat(np.arange(len(frames)), counts)
    number = np.arange(len(game)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = number * grid.chunk
    valid = np.minimum(frames[game] - start, grid.chunk + grid.overlap)
    views = (perspectives & 1) + (perspectives >> 1 & 1)
    return Records(valid, start, perspectives[game]), (games * views)[game]
