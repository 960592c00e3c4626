"""Conditions of a block's views inside the input graph: who plays, what was gained.

A *view* is a record as one of its players sees it; what is hidden is hidden for a whole view, so a
policy that carries memory along is told the same thing throughout. Levels of returns are computed
on the views' rows, as a record's overlap holds what follows its last unroll, and travel in the byte
beside the controllers: that of the row in which a frame's answer takes effect is the frame's own.

A level stands for *at least so much*. So while learning a frame is told a level up to its own, a
view's share of it: what is played before much is gained also answers to those who ask for less, and
asking for more never means asking for a quieter second.
"""

from typing import Any

import keras
import tensorflow as tf

from exphil_tf.data.condition_source import ConditionSource
from exphil_tf.data.unpack import unpack_columns

_READ = ("p.stock", "p.percent", "frame", "absent")
_WHOLE = 1000
"""Share of a level that is all of it."""


class ConditionReader:
    """Ids of views, as the policy is told them.

    Args:
      source: where they come from.
      width: rows of a record, overlap included.
      training: hide some, and tell levels up to a frame's own.
    """

    def __init__(self, source: ConditionSource, *, width: int, training: bool):
        self._source, self._width = source, width
        self._dropout = source.dropout if training else 0.0
        self._training = training

    @property
    def has_returns(self) -> bool:
        """Whether returns are told."""
        return self._source.returns is not None

    def told(self, count: tf.Tensor, seed: tf.Tensor) -> Any:
        """int32 `[2, views]`: 1 where a view's name is told; shares of levels, 0 where none is."""
        ones = tf.ones(tf.stack([2, count]), tf.int32)
        is_told = ones
        if self._dropout:
            draws = tf.random.stateless_uniform(tf.stack([2, count]), seed)
            is_told = tf.cast(draws >= self._dropout, tf.int32)
        shares = ones[0] * _WHOLE
        if self._training and self.has_returns:
            own = tf.random.experimental.stateless_fold_in(seed, 1)
            draws = tf.random.stateless_uniform([2, count], own, 1, _WHOLE + 1, tf.int32)
            shares = tf.reduce_max(draws, 0)  # high levels are rare: they are told more often
        return is_told * tf.stack([ones[0], shares])

    def names(self, player_ids: tf.Tensor) -> Any:
        """The policy's player ids, int64, for those of the dataset."""
        if self._source.players is None:
            return player_ids
        table = tf.constant([*self._source.players, 0], tf.int64)
        return tf.gather(table, tf.minimum(player_ids, len(self._source.players)))

    def levels(self, state: tf.Tensor, *, valid: tf.Tensor, told: tf.Tensor) -> Any:
        """Level of the return of the second that begins with each row.

        Args:
          state: uint8 `[views, width, ROW_BYTES]`, without noise.
          valid: int32 `[views]`, rows present.
          told: int32 `[views]`, share of a frame's level that it is told, in thousandths, rounded
            up; 0 hides a view's.

        Returns: uint8 `[views, width]`, 0 where nothing is told or it is not known.
        """
        if self._source.returns is None:
            return tf.zeros(tf.shape(state)[:2], tf.uint8)
        state = tf.ensure_shape(state, [None, self._width, None])
        # A record that is not full ends with its game.
        levels = self._source.returns.levels(
            unpack_columns(state, _READ),
            valid=valid,
            is_end=valid < self._width,
            xp=keras.ops,
        )
        return tf.cast((levels * told[:, None] + _WHOLE - 1) // _WHOLE, tf.uint8)
