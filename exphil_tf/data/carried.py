"""Batches whose rows go on from batch to batch: pieces decoded in blocks, cut by step.

A block holds pieces in the order of their first step. The batches before the first step of its last
piece are complete with it; unrolls of later ones are copied and joined to the next block.
"""

from typing import Any, NamedTuple, cast

import tensorflow as tf

from exphil_tf.data.batches import Copied, copy_unrolls
from exphil_tf.data.blocks import Block, LiveAugmentation, Shown, Tables, decode_planes
from exphil_tf.data.conditions import ConditionReader
from exphil_tf.data.cursors import Piece, spread
from exphil_tf.data.grid import Grid, Records, labelled_span
from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.packing import ROW_BYTES

_SPEC = {"x": tf.io.FixedLenFeature([], tf.string)}


class CarriedIndex(NamedTuple):
    """The columns of `blocks.Index`, then where an unroll goes, int32 `[unrolls]`."""

    base: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor
    delay: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor
    name: tf.Tensor
    character: tf.Tensor
    begins: tf.Tensor
    """1 where the unroll begins with its game."""
    step: tf.Tensor
    """Whose batches it belongs to."""
    row: tf.Tensor
    """Among those of the step: its cursor."""


class CarriedBlock(NamedTuple):
    """Decoded pieces."""

    block: Block
    """Its unrolls are rows of `CarriedIndex`."""
    complete: tf.Tensor
    """int32 `[]`: batches before this step are complete with this block."""


class Left(NamedTuple):
    """What a block leaves to the next one."""

    block: Block
    """Unrolls of batches that are not complete."""
    done: tf.Tensor
    """int32 `[]`: the first batch that is still to be cut."""


class PieceDecoder:
    """Decodes blocks of pieces.

    Args:
      config: see `InputConfig`.
      grid: how games are cut.
      seed: of noise.
      training: augment.
    """

    def __init__(self, config: InputConfig, grid: Grid, *, seed: int, training: bool):
        self.grid = grid
        width = grid.chunk + grid.overlap
        conditions = ConditionReader(config.conditions, width=width, training=training)
        live = LiveAugmentation.of(config, training=training)
        self._tables = Tables(live, conditions, seed=seed)

    def decode(self, counter: tf.Tensor, element: tuple[tf.Tensor, tf.Tensor]) -> CarriedBlock:
        """Block number `counter` of `Pieces`; one without pieces completes all batches."""
        records, columns = element
        piece = Piece(*tf.unstack(columns, axis=1))
        blobs = cast(Any, tf.io.parse_example(records, _SPEC))["x"]
        planes = decode_planes(blobs, self.grid)
        number = tf.range(tf.shape(records, tf.int64)[0])
        shown = Shown(
            tf.stack([number, piece.sight], 1),
            piece.noisy > 0,
            tf.cast(piece.valid, tf.int32),
            tf.cast(piece.told, tf.int32),
        )
        state, words = self._tables.make(planes, shown, counter=counter)
        index = self._index(piece)
        complete = tf.reduce_max(tf.concat([[-1], tf.cast(piece.step, tf.int32)], 0))
        complete = tf.where(complete < 0, tf.int32.max, complete)
        return CarriedBlock(Block(state, words, index), complete)

    def _index(self, pieces: Piece) -> tf.Tensor:
        piece, number = spread(pieces.unrolls)
        of = Piece(*(tf.gather(column, piece) for column in pieces))
        first = of.first + number * self.grid.window
        records = Records(of.valid, of.start, tf.zeros_like(of.start))
        low, high = labelled_span(self.grid, records, first=first, delay=of.delay, xp=tf)
        index = CarriedIndex(
            base=piece * (self.grid.chunk + self.grid.overlap),
            first=first,
            last=of.valid - 1,
            delay=of.delay,
            low=low,
            high=high,
            name=of.name,
            character=of.character,
            begins=tf.cast(of.start + first == 0, tf.int64),
            step=of.step + number,
            row=of.row,
        )
        return tf.stack([tf.cast(column, tf.int32) for column in index], 1)


class StepCutter:
    """Cuts blocks into batches by step and row.

    Args:
      grid: how games are cut into unrolls.
      batch_size: rows of a batch.
      turns: cursors that take turns in a row: batches of a step.
    """

    def __init__(self, grid: Grid, batch_size: int, *, turns: int):
        self._grid, self._batch_size, self._cursors = grid, batch_size, batch_size * turns

    def nothing(self) -> Left:
        """What is left before the first block."""
        block = Block(
            tf.zeros([0, ROW_BYTES], tf.uint8),
            tf.zeros([0], tf.int64),
            tf.zeros([0, len(CarriedIndex._fields)], tf.int32),
        )
        return Left(block, tf.constant(0))

    def carry(self, left: Left, read: CarriedBlock) -> tuple[Left, Block]:
        """Step of a scan: unrolls in the order of their batches; the others are kept."""
        joined = _join(left.block, read.block)
        index = CarriedIndex(*tf.unstack(joined.unrolls, axis=1))
        last = tf.reduce_max(tf.concat([[left.done - 1], index.step], 0))
        until = tf.minimum(read.complete, last + 1)
        ordered = self._ordered(joined.unrolls, index, since=left.done, until=until)
        later = self._kept(joined, tf.gather(joined.unrolls, tf.where(index.step >= until)[:, 0]))
        return Left(later, until), Block(joined.state, joined.actions, ordered)

    def _ordered(
        self, unrolls: tf.Tensor, index: CarriedIndex, *, since: tf.Tensor, until: tf.Tensor
    ) -> tf.Tensor:
        """Unrolls of the batches `since … until - 1`, row by row; zeros where a cursor has none."""
        ready = tf.where(index.step < until)[:, 0]
        place = (index.step - since) * self._cursors + index.row
        shape = [(until - since) * self._cursors, len(CarriedIndex._fields)]
        return tf.scatter_nd(tf.gather(place, ready)[:, None], tf.gather(unrolls, ready), shape)

    def _kept(self, block: Block, unrolls: tf.Tensor) -> Block:
        """Tables of the rows that some unrolls need, each unroll's by itself."""
        of = CarriedIndex(*tf.unstack(unrolls, axis=1))
        span = self._grid.window + 1 + self._grid.delay_max
        start, stop = (of.base + of.first)[:, None], (of.base + of.last)[:, None]
        rows = tf.reshape(tf.minimum(start + tf.range(span), stop), [-1])
        moved = of._replace(
            base=tf.range(tf.shape(of.base)[0]) * span,
            first=tf.zeros_like(of.first),
            last=tf.minimum(of.last - of.first, span - 1),
        )
        return Block(
            tf.gather(block.state, rows), tf.gather(block.actions, rows), tf.stack(moved, 1)
        )

    def cut(self, block: Block) -> tf.data.Dataset:
        """The batches of a block whose unrolls are ordered."""
        size = self._batch_size
        number = tf.shape(block.unrolls, tf.int64)[0] // size

        def batch(number: tf.Tensor) -> Copied:
            rows = block.unrolls[number * size : (number + 1) * size]
            return copy_unrolls(block, rows, self._grid)

        return tf.data.Dataset.range(number).map(batch)


def _join(one: Block, two: Block) -> Block:
    """Tables of both, those of `two` behind."""
    shift = tf.one_hot(
        CarriedIndex._fields.index("base"), len(CarriedIndex._fields), dtype=tf.int32
    )
    moved = two.unrolls + shift * tf.shape(one.state)[0]
    return Block(
        tf.concat([one.state, two.state], 0),
        tf.concat([one.actions, two.actions], 0),
        tf.concat([one.unrolls, moved], 0),
    )


def begins(index: tf.Tensor) -> tf.Tensor:
    """Whether unrolls begin with their game, bool `[unrolls]`."""
    return index[:, CarriedIndex._fields.index("begins")] > 0
