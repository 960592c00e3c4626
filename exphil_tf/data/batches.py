"""Batches of a stream of blocks: copying unrolls, carrying the rest over, weights.

Blocks do not hold a whole number of batches. What is left over of one is copied and joined to the
first batch of the next (a `scan`), so batches are always full, at the cost of one joined batch a
block. `Dataset.rebatch` would copy every batch, and dropping the rest would lose frames.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from exphil_tf.data import sampling
from exphil_tf.data.blocks import Block, Index
from exphil_tf.data.grid import Grid
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import Source
from exphil_tf.features.packing import ACTION_BYTES, LAYOUT, ROW_BYTES
from exphil_tf.features.schema import SPOILED

_OWN_CHARACTER = LAYOUT.slots["p.character"].offset
"""Byte of a row, as its player sees it."""
_ABSENT = LAYOUT.slots["absent"].offset
"""Byte of a row that tells whether it is spoiled."""


def _index(rows: tf.Tensor) -> Index:
    """The columns that every unroll has; carried ones have more behind them."""
    return Index(*tf.unstack(rows, axis=1)[: len(Index._fields)])


class Copied(NamedTuple):
    """Unrolls cut out of blocks."""

    state: tf.Tensor
    """uint8 `[unrolls, time, ROW_BYTES]`."""
    actions: tf.Tensor
    """uint8 `[unrolls, time + 1, ACTION_BYTES + 2]`: controllers, `absent` of their rows, and the
    level of the return from there on."""
    rows: tf.Tensor
    """int32 `[unrolls, len(Index)]`, or as many as `begins_fn` of a `BatchFinisher` knows."""


def copy_unrolls(block: Block, index: tf.Tensor, grid: Grid) -> Copied:
    """The unrolls of some rows of a block's index; rows behind a game's end repeat its last."""
    of = _index(index)
    start, stop = (of.base + of.first)[:, None], (of.base + of.last)[:, None]
    time = tf.range(grid.window + 1)[None]
    state = tf.gather(block.state, tf.minimum(start + time[:, :-1], stop))
    words = tf.gather(block.actions, tf.minimum(start + of.delay[:, None] + time, stop))
    return Copied(state, tf.bitcast(words, tf.uint8)[..., : ACTION_BYTES + 2], index)


def _join(one: Copied, two: Copied) -> Copied:
    return Copied(*(tf.concat(pair, 0) for pair in zip(one, two, strict=True)))


class BatchCutter:
    """Cuts blocks into full batches.

    Args:
      grid: how games are cut into unrolls.
      batch_size: unrolls per batch.
    """

    def __init__(self, grid: Grid, batch_size: int):
        self._grid, self._batch_size = grid, batch_size

    def nothing(self) -> Copied:
        """What is left over before the first block."""
        window = self._grid.window
        return Copied(
            tf.zeros([0, window, ROW_BYTES], tf.uint8),
            tf.zeros([0, window + 1, ACTION_BYTES + 2], tf.uint8),
            tf.zeros([0, len(Index._fields)], tf.int32),
        )

    def carry(self, left: Copied, block: Block) -> tuple[Copied, tuple[Block, Copied]]:
        """Step of a scan: hands a block on with what earlier ones left, and keeps its own rest."""
        count = tf.shape(block.unrolls)[0]
        total = tf.shape(left.rows)[0] + count
        first = count - tf.minimum(tf.math.floormod(total, self._batch_size), count)
        rest = copy_unrolls(block, block.unrolls[first:], self._grid)
        new = tf.cond(total < self._batch_size, lambda: _join(left, rest), lambda: rest)
        return new, (block, left)

    def cut(self, block: Block, left: Copied) -> tf.data.Dataset:
        """The full batches of a block; a block without rows flushes what is left over."""
        size = tf.constant(self._batch_size, tf.int64)
        have = tf.shape(left.rows, tf.int64)[0]
        total = have + tf.shape(block.unrolls, tf.int64)[0]
        flush = tf.shape(block.state)[0] == 0
        number = tf.where(flush, (total + size - 1) // size, total // size)

        def batch(number: tf.Tensor) -> Copied:
            low = number * size - have
            rows = block.unrolls[tf.maximum(low, 0) : low + size]
            copied = copy_unrolls(block, rows, self._grid)
            return tf.cond(number == 0, lambda: _join(left, copied), lambda: copied)

        return tf.data.Dataset.range(number).map(batch)


def _is_spoiled(absent: tf.Tensor) -> Any:
    return tf.bitwise.bitwise_and(absent, SPOILED) > 0


class BatchFinisher:
    """Pads and weights batches.

    Args:
      config: see `InputConfig`.
      source: for the character distribution.
      training: balance characters, if the config says so.
      batch_size: unrolls per batch.
      begins_fn: bool `[batch]` of an index, int32 `[batch, …]`: whether memory starts empty at an
        unroll's first state; None where it always does.
    """

    def __init__(
        self,
        config: InputConfig,
        source: Source,
        *,
        training: bool,
        batch_size: int,
        begins_fn: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        self._begins_fn = begins_fn
        self._window, self._batch_size = config.window_size, batch_size
        self._has_returns = config.conditions.returns is not None
        balanced = training and config.balance_characters
        self._character_weights = sampling.character_weights(source.characters if balanced else {})

    def finish(self, copied: Copied) -> dict[str, tf.Tensor]:
        """A batch of up to `batch_size` unrolls; missing unrolls are zeros of weight 0.

        So have frames whose state or target lies in a spoiled row.
        """
        state, actions, rows = (self._pad(part) for part in copied)
        index = _index(rows)
        time = tf.range(self._window)[None]
        labelled = (time >= index.low[:, None]) & (time < index.high[:, None])
        spoiled = _is_spoiled(state[..., _ABSENT]) | _is_spoiled(actions[:, 1:, ACTION_BYTES])
        labelled = tf.logical_and(labelled, tf.logical_not(spoiled))
        # Frame by frame: Zelda and Sheik change into each other.
        own = tf.cast(state[:, :, _OWN_CHARACTER], tf.int32)
        weight = tf.gather(self._character_weights, own)
        levels = tf.cast(actions[:, :-1, ACTION_BYTES + 1], tf.int32)
        told = {"return": levels} if self._has_returns else {}
        return told | {
            "state": state,
            "actions": actions[..., :ACTION_BYTES],
            "weight": tf.where(labelled, weight, 0.0),
            "is_resetting": self._resets(time == 0, rows),
            "name": index.name,
            "character": index.character,
            "delay": index.delay,
        }

    def _resets(self, is_first: tf.Tensor, rows: tf.Tensor) -> Any:
        resets = tf.repeat(is_first, self._batch_size, axis=0)
        if self._begins_fn is None:
            return resets
        return tf.logical_and(resets, self._begins_fn(rows)[:, None])

    def _pad(self, part: tf.Tensor) -> Any:
        """Zeros behind `part` up to a batch; full batches are not copied."""
        missing = self._batch_size - tf.shape(part)[0]
        shape = [self._batch_size, *part.shape[1:]]
        zeros = tf.zeros([missing, *part.shape[1:]], part.dtype)
        whole = tf.cond(missing > 0, lambda: tf.concat([part, zeros], 0), lambda: part)
        return tf.ensure_shape(whole, shape)
