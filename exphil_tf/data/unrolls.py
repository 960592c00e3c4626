"""The unrolls of records as the input graph finds them; `data.grid` says where they start."""

from typing import NamedTuple

import tensorflow as tf

from exphil_tf.data.grid import Grid, Records, find_starts


class Unrolls(NamedTuple):
    """Unrolls of some records, int64 `[unrolls]`."""

    record: tf.Tensor
    player: tf.Tensor
    first: tf.Tensor
    """Row of the record at which the unroll starts."""


def find_unrolls(grid: Grid, records: Records, phase: tf.Tensor | int) -> Unrolls:
    """All unrolls of the records that can label a frame, in order of record, player, row."""
    first, is_unroll = find_starts(grid, records, phase, xp=tf)
    bits = tf.bitwise.right_shift(records.perspectives[:, None], tf.range(2, dtype=tf.int64)[None])
    wanted = tf.bitwise.bitwise_and(bits, 1) == 1
    index = tf.where(is_unroll[:, None, :] & wanted[:, :, None])
    record, player, slot = tf.unstack(index, axis=1)
    return Unrolls(record, player, tf.gather_nd(first, tf.stack([record, slot], 1)))
