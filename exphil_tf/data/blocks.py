"""A block: some records decoded together, and the index of the unrolls in them.

One `parse_example`, one ZSTD pass and one transposition from byte planes to rows serve all records
of a block, for each player who may be imitated, mirrored and noised or not. Order and delay of the
unrolls are numbers in the index; rows are touched once more only, when a batch is copied.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from exphil_tf.data import augment, sampling
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import RECORD_FEATURES, Source, seed_pair
from exphil_tf.data.unrolls import Records, Unrolls, find_unrolls, labelled_span
from exphil_tf.features.packing import ACTION_BYTES, ROW_BYTES
from exphil_tf.records import headers
from exphil_tf.records.example import NO_WINNER
from exphil_tf.records.headers import Bounds

_SPEC = {"x": tf.io.FixedLenFeature([], tf.string), **RECORD_FEATURES}
OUT_OF_BOUNDS = "a record is out of bounds"
_WORD = 8
"""Bytes of a controller in a block's table: one integer, as a gather of small spans is slow."""


class Index(NamedTuple):
    """What a batch needs to know of each unroll, int32 `[unrolls]`."""

    base: tf.Tensor
    """Row of the block's tables at which the unroll's record starts, as its player sees it."""
    first: tf.Tensor
    """Row of the record at which the unroll starts."""
    last: tf.Tensor
    """Last row of the record."""
    delay: tf.Tensor
    """Frames between a state and the input that answers it, beyond 1."""
    low: tf.Tensor
    """First labelled state."""
    high: tf.Tensor
    """The state behind the last labelled one."""
    name: tf.Tensor
    """Player id."""
    character: tf.Tensor
    """Internal id of the character played most by the player, in the whole game."""
    won: tf.Tensor
    """1 if the player won the game, 0 if the other did, -1 if it is not known."""


class Block(NamedTuple):
    """Decoded records: tables of rows, and the unrolls in them."""

    state: tf.Tensor
    """uint8 `[rows, ROW_BYTES]`, record after record, for each player."""
    actions: tf.Tensor
    """int64 `[rows]`: controller bytes of the same rows and `absent`, as the low bytes of an
    integer."""
    unrolls: tf.Tensor
    """int32 `[unrolls, len(Index)]`."""


def _view(planes: tf.Tensor, views: tf.Tensor, orders: np.ndarray) -> tf.Tensor:
    """Rows of records as players see them, uint8 `[views, columns, bytes]`.

    Perspective and mirror choose whole planes, so they are done before the transposition, where
    that copies long spans; on rows it would be a gather of single bytes, 20 times slower.

    Args:
      planes: uint8 `[records, bytes, columns]`.
      views: int64 `[views, 2]`: record, and row of `orders`.
      orders: int64 `[kinds, bytes]`: the planes wanted.
    """
    flat = tf.reshape(planes, tf.stack([-1, tf.shape(planes)[2]]))
    origin = views[:, :1] * tf.shape(planes, tf.int64)[1]
    return tf.transpose(tf.gather(flat, tf.gather(orders, views[:, 1]) + origin), [0, 2, 1])


def _within(bounds: Bounds, example: Mapping[str, Any]) -> dict[str, Any]:
    """The small features of records, which fail to evaluate if one is out of bounds.

    They are a few numbers a record, so this is free. `sampling.find_damage` names shard and reason.
    """
    found = {}
    for name in ("n", "perspectives", "player_ids", "characters", "winner"):
        low, high = getattr(bounds, name)
        value = example[name]
        is_right = tf.reduce_all((value >= low) & (value <= high))
        with tf.control_dependencies([tf.debugging.Assert(is_right, [OUT_OF_BOUNDS, name])]):
            found[name] = tf.identity(value)
    start = example["start"]
    is_right = tf.reduce_all((start >= 0) & (start % bounds.chunk == 0))
    with tf.control_dependencies([tf.debugging.Assert(is_right, [OUT_OF_BOUNDS, "start"])]):
        found["start"] = tf.identity(start)
    return found


def _won(winner: tf.Tensor, player: tf.Tensor) -> tf.Tensor:
    """int64, see `Index.won`."""
    won = tf.cast(winner == player, tf.int64)
    return tf.where(winner == NO_WINNER, tf.constant(-1, tf.int64), won)


class BlockDecoder:
    """Decodes blocks and draws order, delay, mirror and noise of their unrolls.

    Args:
      config: see `InputConfig`.
      source: where the records come from.
      seed: of all draws.
      training: shuffle, move the grid from epoch to epoch, augment.
    """

    def __init__(self, config: InputConfig, source: Source, *, seed: int, training: bool):
        self.grid = config.grid(chunk=source.chunk, overlap=source.overlap, training=training)
        self._bounds = headers.bounds(chunk=source.chunk, overlap=source.overlap)
        self._seed, self._training = seed, training
        live = training and config.augment and config.augment_from == "live"
        self._mirror_prob = config.mirror_prob if live else 0.0
        self._noise_prob = config.noise_prob if live and config.noise_scale > 0 else 0.0
        self._noise_scale = config.noise_scale

    def decode(self, counter: tf.Tensor, element: tuple[tf.Tensor, tf.Tensor]) -> Block:
        """Block number `counter` of (epoch int64 `[]`, serialised records string `[records]`)."""
        epoch, serialised = element
        example = tf.io.parse_example(serialised, _SPEC)
        example |= _within(self._bounds, example)
        planes = tf.io.decode_raw(tf.io.decode_compressed(example["x"], "ZSTD"), tf.uint8)
        planes = tf.reshape(planes, [-1, ROW_BYTES, self.grid.chunk + self.grid.overlap])
        perspectives = cast(tf.Tensor, example["perspectives"])
        bits = tf.bitwise.right_shift(perspectives[:, None], [[0, 1]])
        is_view = tf.bitwise.bitwise_and(bits, 1) == 1
        views = tf.where(is_view)
        if self._mirror_prob:
            planes = augment.with_reflections(planes)
            coin = self._coin(self._mirror_prob, views, self._pair(sampling.MIRROR, counter))
            views += 2 * tf.pad(tf.cast(coin, tf.int64)[:, None], [[0, 0], [1, 0]])
        state = _view(planes, views, augment.view_orders().state)
        actions = _view(planes, views, augment.view_orders().actions)
        if self._noise_prob:
            coin = self._coin(self._noise_prob, views, self._pair(sampling.NOISE, counter))
            seed = self._pair(sampling.NOISE_VALUES, counter)
            state = augment.add_noise(state, coin, scale=self._noise_scale, seed=seed)
        words = tf.bitcast(
            tf.pad(actions, [[0, 0], [0, 0], [0, _WORD - ACTION_BYTES - 1]]), tf.int64
        )
        return Block(
            tf.reshape(state, [-1, ROW_BYTES]),
            tf.reshape(words, [-1]),
            self._index(counter, epoch, (example, is_view)),
        )

    def _index(self, counter: tf.Tensor, epoch: tf.Tensor, records: tuple) -> tf.Tensor:
        example, is_view = records
        features = Records(example["n"], example["start"], example["perspectives"])
        phase = self.grid.phase(epoch, self._seed) if self._training else 0
        unrolls = find_unrolls(self.grid, features, phase)
        if self._training:
            unrolls = self._shuffle(unrolls, counter)
        of = Records(*(tf.gather(feature, unrolls.record) for feature in features))
        view = tf.cumsum(tf.cast(tf.reshape(is_view, [-1]), tf.int64), exclusive=True)
        width = self.grid.chunk + self.grid.overlap
        pair = unrolls.record * 2 + unrolls.player
        count = tf.shape(unrolls.first)[0]
        delay = self._delay(count, counter)
        low, high = labelled_span(self.grid, of, first=unrolls.first, delay=delay)
        index = Index(
            base=tf.gather(view, pair) * width,
            first=unrolls.first,
            last=of.valid - 1,
            delay=delay,
            low=low,
            high=high,
            name=tf.gather(tf.reshape(example["player_ids"], [-1]), pair),
            character=tf.gather(tf.reshape(example["characters"], [-1]), pair),
            won=_won(tf.gather(example["winner"], unrolls.record), unrolls.player),
        )
        return tf.stack([tf.cast(column, tf.int32) for column in index], 1)

    @staticmethod
    def _coin(probability: float, views: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Bool `[views]`."""
        return tf.random.stateless_uniform(tf.shape(views)[:1], seed) < probability

    def _pair(self, kind: int, counter: tf.Tensor) -> tf.Tensor:
        return seed_pair(self._seed, kind, counter)

    def _shuffle(self, unrolls: Unrolls, counter: tf.Tensor) -> Unrolls:
        numbers = tf.range(tf.shape(unrolls.first)[0])
        order = sampling.shuffle(numbers, self._pair(sampling.UNROLLS, counter))
        return Unrolls(*(tf.gather(column, order) for column in unrolls))

    def _delay(self, count: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
        """int64 `[count]`, uniform between the grid's least and greatest delay."""
        low, high = self.grid.delay_min, self.grid.delay_max
        if low == high:
            return tf.fill([count], tf.constant(low, tf.int64))
        seed = self._pair(sampling.DELAY, counter)
        return tf.random.stateless_uniform(count[None], seed, low, high + 1, tf.int64)
