"""Whole games in a seeded order, still compressed, and who plays them: what cursors walk through.

The records of a game lie one behind another in one shard, so games are put together while a shard
is read, and shuffled as a whole, by windows of about `shuffle_records` records. Nothing but such a
window is held, however large the collection is.

A *view* is a game as one player sees it. Delay, mirror, noise and variant are drawn for a view, so
that nothing changes under a memory while it walks through a game.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from exphil_tf.data import sampling
from exphil_tf.data.blocks import LiveAugmentation, within
from exphil_tf.data.conditions import ConditionReader
from exphil_tf.data.grid import Grid, game_unrolls
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import RECORD_FEATURES, Source, seed_pair
from exphil_tf.records import headers

_PACK = 64
"""Records of a shard read together."""


class Views(NamedTuple):
    """Views of a window of games, int64 `[views]`."""

    record: tf.Tensor
    """Number of the game's first record in the window."""
    frames: tf.Tensor
    """Rows of the game."""
    unrolls: tf.Tensor
    """Unrolls that the game has."""
    sight: tf.Tensor
    """Player, plus 2 if mirrored: row of `augment.view_orders`."""
    noisy: tf.Tensor
    """1 if noise is added."""
    told: tf.Tensor
    """Share of returns' levels that is told; see `ConditionReader.told`."""
    variant: tf.Tensor
    """Which of the stored variants is read."""
    delay: tf.Tensor
    name: tf.Tensor
    character: tf.Tensor


class Window(NamedTuple):
    """Some whole games."""

    records: tf.Tensor
    """string `[records, variants]`, game after game."""
    views: tf.Tensor
    """int64 `[views, len(Views)]`, in the order in which they are to be walked through."""
    is_end: tf.Tensor
    """bool `[]`: there is nothing behind this window, which is empty."""


class GameReader:
    """Reads windows of games.

    Args:
      config: see `InputConfig`.
      source: where the records come from.
      seed: of all draws.
      training: shuffled, without end, augmented; otherwise once, in the order of the shards.
    """

    def __init__(self, config: InputConfig, source: Source, *, seed: int, training: bool):
        self._config, self._source, self._seed, self._training = config, source, seed, training
        self.grid = config.grid(chunk=source.chunk, overlap=source.overlap, training=training)
        self._bounds = headers.bounds(chunk=source.chunk, overlap=source.overlap)
        self._live = LiveAugmentation.of(config, training=training)
        width = source.chunk + source.overlap
        self._conditions = ConditionReader(config.conditions, width=width, training=training)
        use_variants = training and config.augment and config.augment_from == "variants"
        self.variants = list(source.shards) if use_variants else ["original"]

    def windows(self) -> tf.data.Dataset:
        """`Window`s; the last one, if there is any, is the end."""
        if self._training:
            return tf.data.Dataset.counter().flat_map(self._epoch)
        empty = Window(
            tf.zeros([0, 1], tf.string),
            tf.zeros([0, len(Views._fields)], tf.int64),
            tf.constant(True),
        )
        end = tf.data.Dataset.from_tensors(empty)
        return self._epoch(tf.constant(0, tf.int64)).concatenate(end)

    def _epoch(self, epoch: tf.Tensor) -> tf.data.Dataset:
        shards = [self._source.shards[name] for name in self.variants]
        paths = tf.constant(np.array(shards, object).T.astype(str))
        if self._training:
            paths = sampling.shuffle(paths, seed_pair(self._seed, sampling.FILES, epoch))
        packs = tf.data.Dataset.from_tensor_slices(paths).interleave(
            self._packs,
            cycle_length=self._config.shuffle_files if self._training else 1,
            block_length=1,
        )
        together = -(-self._config.shuffle_records // _PACK)
        shape = tf.TensorShape([None, len(self.variants)])
        joined = packs.padded_batch(together, padded_shapes=shape)

        def window(number: tf.Tensor, padded: tf.Tensor) -> Window:
            records = tf.reshape(padded, [-1, len(self.variants)])
            records = tf.boolean_mask(records, tf.strings.length(records[:, 0]) > 0)
            views = self._views(epoch * 2**32 + number, records)
            return Window(records, tf.stack(views, 1), tf.constant(False))

        return joined.enumerate().map(window)

    def _packs(self, paths: tf.Tensor) -> tf.data.Dataset:
        """Whole games of a shard, string `[records, variants]`."""
        num_variants = len(self.variants)
        files = tuple(
            tf.data.TFRecordDataset(paths[k], buffer_size=1 << 20) for k in range(num_variants)
        )
        records = tf.data.Dataset.zip(files).map(lambda *parts: tf.stack(parts))

        def whole(left: tf.Tensor, read: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """Step of a scan: hands whole games on, and keeps the records of an unfinished one."""
            spec = {"n": RECORD_FEATURES["n"]}
            valid = cast(Any, tf.io.parse_example(read[:, 0], spec))["n"]
            ends = tf.where(valid <= self.grid.chunk)[:, 0]
            stop = tf.reduce_max(tf.concat([[tf.constant(-1, tf.int64)], ends], 0)) + 1
            joined = tf.concat([left, read], 0)
            cut = tf.where(stop > 0, tf.shape(left, tf.int64)[0] + stop, 0)
            return joined[cut:], joined[:cut]

        return records.batch(_PACK).scan(tf.zeros([0, num_variants], tf.string), whole)

    def _views(self, counter: tf.Tensor, records: tf.Tensor) -> Views:
        """The views of whole games, shuffled for training; those without a label are left out."""
        example = within(
            self._bounds, cast(Any, tf.io.parse_example(records[:, 0], RECORD_FEATURES))
        )
        ends = tf.where(example["n"] <= self.grid.chunk)[:, 0]
        first = tf.concat([tf.zeros_like(ends[:1]), ends[:-1] + 1], 0)
        frames = tf.gather(example["start"] + example["n"], ends)
        bits = tf.bitwise.right_shift(tf.gather(example["perspectives"], first)[:, None], [[0, 1]])
        unrolls, _ = game_unrolls(self.grid, frames, xp=tf)
        is_view = (tf.bitwise.bitwise_and(bits, 1) == 1) & (unrolls > 0)[:, None]
        pairs = tf.where(is_view)
        if self._training:
            pairs = sampling.shuffle(pairs, seed_pair(self._seed, sampling.UNROLLS, counter))
        game, player = pairs[:, 0], pairs[:, 1]
        record = tf.gather(first, game)
        own = tf.stack([record, player], 1)
        draws = _Draws(self._seed, counter, tf.shape(game, tf.int64)[0])
        mirrored = draws.coins(sampling.MIRROR, self._live.mirror_prob)
        told = draws.told(self._conditions)
        name = self._conditions.names(tf.gather_nd(example["player_ids"], own))
        return Views(
            record=record,
            frames=tf.gather(frames, game),
            unrolls=tf.gather(unrolls, game),
            sight=player + 2 * mirrored,
            noisy=draws.coins(sampling.NOISE, self._live.noise_prob),
            told=told[1],
            variant=draws.variants(self.variants, self._config),
            delay=draws.delays(self.grid),
            name=name * told[0],
            character=tf.gather_nd(example["characters"], own),
        )


class _Draws:
    """Draws for the views of a window, int64 `[views]` each."""

    def __init__(self, seed: int, counter: tf.Tensor, count: tf.Tensor):
        self._seed, self._counter, self._count = seed, counter, count

    def _pair(self, kind: int) -> tf.Tensor:
        return seed_pair(self._seed, kind, self._counter)

    def coins(self, kind: int, probability: float) -> tf.Tensor:
        if not probability:
            return tf.zeros(self._count[None], tf.int64)
        draws = tf.random.stateless_uniform(self._count[None], self._pair(kind))
        return tf.cast(draws < probability, tf.int64)

    def told(self, conditions: ConditionReader) -> Any:
        """int64 `[2, views]`, see `ConditionReader.told`."""
        count = tf.cast(self._count, tf.int32)
        return tf.cast(conditions.told(count, self._pair(sampling.TOLD)), tf.int64)

    def delays(self, grid: Grid) -> tf.Tensor:
        return sampling.delays(grid, self._count, self._pair(sampling.DELAY))

    def variants(self, names: list[str], config: InputConfig) -> tf.Tensor:
        if len(names) == 1:
            return tf.zeros(self._count[None], tf.int64)
        shape = tf.stack([self._count, 2])
        draws = tf.random.stateless_uniform(shape, self._pair(sampling.VARIANTS))
        return sampling.choose_variants(names, draws, config)
