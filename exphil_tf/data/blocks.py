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
from exphil_tf.data.conditions import ConditionReader
from exphil_tf.data.grid import Grid, Records, labelled_span
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import RECORD_FEATURES, Source, seed_pair
from exphil_tf.data.unrolls import Unrolls, find_unrolls
from exphil_tf.features.packing import ACTION_BYTES, ROW_BYTES
from exphil_tf.records import headers
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
    """Player id that the policy is told."""
    character: tf.Tensor
    """Internal id of the character played most by the player, in the whole game."""


class Block(NamedTuple):
    """Decoded records: tables of rows, and the unrolls in them."""

    state: tf.Tensor
    """uint8 `[rows, ROW_BYTES]`, record after record, for each player."""
    actions: tf.Tensor
    """int64 `[rows]`: controller bytes of the same rows, `absent` and the level of the return, as
    the low bytes of an integer."""
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


def within(bounds: Bounds, example: Mapping[str, Any]) -> dict[str, Any]:
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


class LiveAugmentation(NamedTuple):
    """Shares of views that the input graph mirrors and noises; 0 where it does not."""

    mirror_prob: float
    noise_prob: float
    noise_scale: float

    @classmethod
    def of(cls, config: InputConfig, *, training: bool) -> "LiveAugmentation":
        """What a configuration asks of the input graph."""
        if not (training and config.augment and config.augment_from == "live"):
            return cls(0.0, 0.0, 0.0)
        noise_prob = config.noise_prob if config.noise_scale > 0 else 0.0
        return cls(config.mirror_prob, noise_prob, config.noise_scale)


def decode_planes(blobs: Any, grid: Grid) -> tf.Tensor:
    """Byte planes uint8 `[records, bytes, columns]` of records' `x`."""
    planes = tf.io.decode_raw(tf.io.decode_compressed(blobs, "ZSTD"), tf.uint8)
    return tf.reshape(planes, [-1, ROW_BYTES, grid.chunk + grid.overlap])


class Shown(NamedTuple):
    """What some views show."""

    views: tf.Tensor
    """int64 `[views, 2]`: record, and player plus 2 if mirrored."""
    noisy: tf.Tensor
    """bool `[views]`."""
    valid: tf.Tensor
    """int32 `[views]`, rows present."""
    told: tf.Tensor
    """int32 `[views]`, 0 where returns are hidden."""


class Tables:
    """Makes a block's tables of rows.

    Args:
      live: what may be mirrored and noised.
      conditions: how returns are told.
      seed: of the noise.
    """

    def __init__(self, live: LiveAugmentation, conditions: ConditionReader, *, seed: int):
        self._live, self._conditions, self._seed = live, conditions, seed

    def make(
        self, planes: tf.Tensor, shown: Shown, *, counter: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`Block.state` and `Block.actions`.

        Args:
          planes: uint8 `[records, bytes, columns]`.
          shown: the views.
          counter: number of the block.
        """
        if self._live.mirror_prob:
            planes = augment.with_reflections(planes)
        state = _view(planes, shown.views, augment.view_orders().state)
        actions = _view(planes, shown.views, augment.view_orders().actions)
        levels = self._conditions.levels(state, valid=shown.valid, told=shown.told)
        if self._live.noise_prob:
            seed = seed_pair(self._seed, sampling.NOISE_VALUES, counter)
            state = augment.add_noise(state, shown.noisy, scale=self._live.noise_scale, seed=seed)
        words = tf.concat([actions, levels[..., None]], -1)
        words = tf.pad(words, [[0, 0], [0, 0], [0, _WORD - ACTION_BYTES - 2]])
        return tf.reshape(state, [-1, ROW_BYTES]), tf.reshape(tf.bitcast(words, tf.int64), [-1])


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
        self._live = LiveAugmentation.of(config, training=training)
        width = source.chunk + source.overlap
        self._conditions = ConditionReader(config.conditions, width=width, training=training)
        self._tables = Tables(self._live, self._conditions, seed=seed)

    def decode(self, counter: tf.Tensor, element: tuple[tf.Tensor, tf.Tensor]) -> Block:
        """Block number `counter` of (epoch int64 `[]`, serialised records string `[records]`)."""
        epoch, serialised = element
        example = tf.io.parse_example(serialised, _SPEC)
        example |= within(self._bounds, example)
        planes = decode_planes(example["x"], self.grid)
        perspectives = cast(tf.Tensor, example["perspectives"])
        bits = tf.bitwise.right_shift(perspectives[:, None], [[0, 1]])
        is_view = tf.bitwise.bitwise_and(bits, 1) == 1
        views = tf.where(is_view)
        told = self._conditions.told(tf.shape(views)[0], self._pair(sampling.TOLD, counter))
        valid = tf.cast(tf.gather(example["n"], views[:, 0]), tf.int32)
        if self._live.mirror_prob:
            coin = self._coin(self._live.mirror_prob, views, self._pair(sampling.MIRROR, counter))
            views += 2 * tf.pad(tf.cast(coin, tf.int64)[:, None], [[0, 0], [1, 0]])
        noisy = self._coin(self._live.noise_prob, views, self._pair(sampling.NOISE, counter))
        shown = Shown(views, noisy, valid, told[1])
        state, words = self._tables.make(planes, shown, counter=counter)
        return Block(state, words, self._index(counter, epoch, (example, is_view, told[0])))

    def _index(self, counter: tf.Tensor, epoch: tf.Tensor, records: tuple) -> tf.Tensor:
        example, is_view, told = records
        features = Records(example["n"], example["start"], example["perspectives"])
        phase = self.grid.phase(epoch, self._seed) if self._training else 0
        unrolls = find_unrolls(self.grid, features, phase)
        if self._training:
            unrolls = self._shuffle(unrolls, counter)
        of = Records(*(tf.gather(feature, unrolls.record) for feature in features))
        view = tf.cumsum(tf.cast(tf.reshape(is_view, [-1]), tf.int64), exclusive=True)
        width = self.grid.chunk + self.grid.overlap
        pair = unrolls.record * 2 + unrolls.player
        number = tf.gather(view, pair)
        name = self._conditions.names(tf.gather(tf.reshape(example["player_ids"], [-1]), pair))
        count = tf.shape(unrolls.first)[0]
        delay = sampling.delays(self.grid, count, self._pair(sampling.DELAY, counter))
        low, high = labelled_span(self.grid, of, first=unrolls.first, delay=delay, xp=tf)
        index = Index(
            base=number * width,
            first=unrolls.first,
            last=of.valid - 1,
            delay=delay,
            low=low,
            high=high,
            name=name * tf.cast(tf.gather(told, number), tf.int64),
            character=tf.gather(tf.reshape(example["characters"], [-1]), pair),
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
