"""Which unrolls an epoch has and which of their frames count: index arithmetic, no rows touched.

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

from typing import NamedTuple

import tensorflow as tf

from exphil_tf.melee.types import FIRST_FRAME, GO_FRAME

GO_ROW = GO_FRAME - FIRST_FRAME
"""Row of the first frame at which players may act."""


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

    def phase(self, epoch: tf.Tensor | int, seed: int) -> tf.Tensor:
        """int64 `[]`: shift of the grid in an epoch.

        Epochs so see a frame with contexts of other lengths. The golden ratio spreads few epochs
        evenly; plain integers, so that `epoch_size` agrees with the graph.
        """
        golden = tf.cast(epoch, tf.int64) * 40503 + seed % 65536
        return tf.bitwise.bitwise_and(golden, 65535) * (self.max_phase + 1) // 65536


class Records(NamedTuple):
    """Small features of records, int64 `[records]`."""

    valid: tf.Tensor
    """Rows present, overlap included."""
    start: tf.Tensor
    """Row of the game at which the record starts."""
    perspectives: tf.Tensor
    """Bit p: player p may be imitated."""


class Unrolls(NamedTuple):
    """Unrolls of some records, int64 `[unrolls]`."""

    record: tf.Tensor
    player: tf.Tensor
    first: tf.Tensor
    """Row of the record at which the unroll starts."""


def labelled_span(
    grid: Grid, unroll: Records, *, first: tf.Tensor, delay: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor]:
    """First labelled state of each unroll and the one behind the last; none unless `low < high`.

    Args:
      grid: how games are cut.
      unroll: the features of each unroll's record.
      first: row of the record at which the unroll starts.
      delay: frames between a state and the input it answers, minus 1.
    """
    row = unroll.start + first
    delay = tf.cast(delay, tf.int64)
    if grid.last_only:
        low = tf.fill(tf.shape(row), tf.constant(grid.window - 1, tf.int64))
    else:
        low = tf.where(row == 0, tf.constant(0, tf.int64), grid.burn_in)
    low = tf.maximum(low, GO_ROW - 1 - delay - row)
    high = tf.minimum(tf.constant(grid.window, tf.int64), unroll.valid - 1 - delay - first)
    if not grid.spans_chunks:
        high = tf.minimum(high, grid.chunk + grid.unlabelled - first)
    return low, high


def find_unrolls(grid: Grid, records: Records, phase: tf.Tensor | int) -> Unrolls:
    """All unrolls of the records that can label a frame, in order of record, player, row.

    Which unrolls there are does not depend on random delays, so an epoch's length is known
    beforehand; at a game's end an unroll may draw a delay that leaves it nothing to label.
    """
    column = Records(*(tf.cast(feature, tf.int64)[:, None] for feature in records))
    steps = tf.range(grid.num_slots, dtype=tf.int64)[None] * grid.stride
    offset = (
        tf.math.floormod(tf.cast(phase, tf.int64) - column.start, grid.stride)
        if grid.spans_chunks
        else tf.zeros_like(column.start)
    )
    first = offset + steps
    low, _ = labelled_span(grid, column, first=first, delay=grid.delay_max)
    _, high = labelled_span(grid, column, first=first, delay=grid.delay_min)
    owned = first < tf.minimum(column.valid, grid.chunk)
    keep = owned & (low < high) & (column.start + first >= tf.cast(phase, tf.int64))
    bits = tf.bitwise.right_shift(column.perspectives, tf.range(2, dtype=tf.int64)[None])
    wanted = tf.bitwise.bitwise_and(bits, 1) == 1
    index = tf.where(keep[:, None, :] & wanted[:, :, None])
    record, player, slot = tf.unstack(index, axis=1)
    return Unrolls(record, player, tf.gather_nd(first, tf.stack([record, slot], 1)))


def count_game_unrolls(grid: Grid, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Unrolls and labelled frames of games that are walked through from their first row.

    Unrolls begin with the game, before any label, as memory does in play. None where no frame has
    a label. Unrolls are counted for the least delay, so that their number does not depend on draws;
    labelled frames are the mean of those at the least and the greatest.

    Args:
      grid: how games are cut.
      frames: int64 `[games]`, rows of each.

    Returns: int64 `[games]`, float64 `[games]`.
    """
    frames = tf.cast(frames, tf.int64)
    most = [
        tf.maximum(frames - 1 - delay - max(0, GO_ROW - 1 - delay), 0)
        for delay in (grid.delay_min, grid.delay_max)
    ]
    unrolls = -(-(frames - 1 - grid.delay_min) // grid.window)
    return tf.where(most[0] > 0, unrolls, 0), tf.cast(most[0] + most[1], tf.float64) / 2


def count_unrolls(grid: Grid, records: Records, phase: tf.Tensor | int) -> tuple[int, int]:
    """Unrolls and labelled frames of the records in one epoch.

    With random delays the number of labelled frames is the mean of those at the least and the
    greatest delay.
    """
    unrolls = find_unrolls(grid, records, phase)
    of_unroll = Records(
        *(tf.gather(tf.cast(feature, tf.int64), unrolls.record) for feature in records)
    )
    frames = 0.0
    for delay in (grid.delay_min, grid.delay_max):
        low, high = labelled_span(grid, of_unroll, first=unrolls.first, delay=delay)
        frames += float(tf.reduce_sum(tf.maximum(high - low, 0))) / 2
    return len(unrolls.first), round(frames)
