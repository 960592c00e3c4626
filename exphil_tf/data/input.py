"""Batches of packed unrolls from TFRecord shards, as one `tf.data` graph.

A *block* is `block_records` records, decoded together: one `parse_example`, one ZSTD pass, one
transposition from byte planes to rows, for each player who may be imitated. What is shuffled are
unroll *indices* into the block; the rows of a batch are then copied by one gather. The per-window
idioms (`Dataset.window`, a slice per window, shuffling windows) cost 20 to 60 times more (`python
-m benchmarks --only input`).

Everything is drawn from `seed` and counters (epoch, block, batch) by stateless ops, so a run
repeats exactly, the iterator checkpoints with `tf.train.Checkpoint` and resumes bit for bit;
`Dataset.shuffle` was avoided as its order also depends on the global seed of the process. Memory:
about `block_records` × 2 MB per block in flight.

Batches hold bytes: `exphil_tf.data.unpack` turns them into typed columns inside the training step,
on the accelerator.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from exphil_tf.data import augment, sampling
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import RECORD_FEATURES, Source, describe, seed_pair
from exphil_tf.data.unrolls import (
    Grid,
    Records,
    Unrolls,
    count_unrolls,
    find_unrolls,
    labelled_span,
)
from exphil_tf.features.packing import ACTION_BYTES, ROW_BYTES, action_order, perspective_order
from exphil_tf.records.manifest import Manifest

_CALLS = max(2, min(8, os.cpu_count() or 2))
"""Blocks decoded and batches finished at a time: bounds memory on machines with many cores."""
_SPEC = {"x": tf.io.FixedLenFeature([], tf.string), **RECORD_FEATURES}


class EpochSize(NamedTuple):
    """Length of one epoch."""

    unrolls: int
    labelled_frames: int
    """Frames with a loss weight, over all perspectives; the mean over delays if those are
    random."""
    steps: int
    """Batches, the last one counted in full."""


class _Index(NamedTuple):
    """What a batch needs to know of each unroll, int32 `[unrolls]`."""

    base: tf.Tensor
    """Row of the block's tables at which the unroll's record (and perspective) starts."""
    first: tf.Tensor
    """Row of the record at which the unroll starts."""
    last: tf.Tensor
    """Last row of the record."""
    delay: tf.Tensor
    low: tf.Tensor
    """First labelled state."""
    high: tf.Tensor
    """The state behind the last labelled one."""
    name: tf.Tensor
    character: tf.Tensor
    mirror: tf.Tensor
    """0 or 1."""
    noise: tf.Tensor
    """0 or 1."""


class _Block(NamedTuple):
    """Decoded records: tables of rows, and the unrolls in them."""

    state: tf.Tensor
    """uint8 `[records · perspectives · rows, ROW_BYTES]`."""
    actions: tf.Tensor
    """uint8 `[records · perspectives · rows, ACTION_BYTES]`."""
    index: tf.Tensor
    """int32 `[unrolls, len(_Index)]`."""


# -- Blocks --------------------------------------------------------------------------------------


def _tables(planes: tf.Tensor, views: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows and controller bytes, uint8 `[views · columns, …]`, of records as players see them.

    Taking a perspective permutes whole planes, so it is done before the transposition, where it is
    a copy of long spans; on rows it would be a gather of single bytes, 20 times slower.

    Args:
      planes: uint8 `[records, ROW_BYTES, columns]`.
      views: int64 `[views, 2]` of record and player.
    """
    columns = tf.shape(planes)[2]
    flat = tf.reshape(planes, [-1, columns])
    origin = views[:, :1] * ROW_BYTES
    player = tf.cast(views[:, 1], tf.int32)

    def table(orders: np.ndarray) -> tf.Tensor:
        chosen = tf.gather(flat, origin + tf.cast(tf.gather(orders, player), tf.int64))
        return tf.reshape(tf.transpose(chosen, [0, 2, 1]), [-1, orders.shape[1]])

    orders = np.stack([perspective_order(0), perspective_order(1)])
    return table(orders), table(np.stack([action_order(0), action_order(1)]))


def _coin(probability: float, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """int32 `[count]` of 0 and 1."""
    return tf.cast(tf.random.stateless_uniform([count], seed) < probability, tf.int32)


class _Blocks:
    """Decodes blocks; draws order, delay, mirror and noise of their unrolls."""

    def __init__(self, config: InputConfig, source: Source, *, seed: int, training: bool):
        self.seed, self.training = seed, training
        self.grid = config.grid(chunk=source.chunk, overlap=source.overlap, training=training)
        live = training and config.augment and config.augment_from == "live"
        self.mirror_prob = config.mirror_prob if live else 0.0
        self.noise_prob = config.noise_prob if live else 0.0

    def decode(self, counter: tf.Tensor, epoch: tf.Tensor, serialised: tf.Tensor) -> _Block:
        """The block of string `[records]`; `counter` numbers blocks, `epoch` shifts the grid."""
        grid = self.grid
        example = tf.io.parse_example(serialised, _SPEC)
        planes = tf.io.decode_raw(tf.io.decode_compressed(example["x"], "ZSTD"), tf.uint8)
        planes = tf.reshape(planes, [-1, ROW_BYTES, grid.chunk + grid.overlap])
        bits = tf.bitwise.right_shift(
            example["perspectives"][:, None], tf.range(2, dtype=tf.int64)[None]
        )
        is_view = tf.bitwise.bitwise_and(bits, 1) == 1
        state, actions = _tables(planes, tf.where(is_view))
        records = Records(example["n"], example["start"], example["perspectives"])
        unrolls = find_unrolls(grid, records, grid.phase(epoch, self.seed) if self.training else 0)
        if self.training:
            unrolls = self._shuffle(unrolls, counter)
        view = tf.reshape(
            tf.cumsum(tf.cast(tf.reshape(is_view, [-1]), tf.int64), exclusive=True), [-1, 2]
        )
        pair = tf.stack([unrolls.record, unrolls.player], 1)
        of_unroll = Records(*(tf.gather(feature, unrolls.record) for feature in records))
        delay, mirror, noise = self._draw(tf.shape(unrolls.first)[0], counter)
        low, high = labelled_span(grid, of_unroll, unrolls.first, delay)
        index = _Index(
            base=tf.gather_nd(view, pair) * (grid.chunk + grid.overlap), first=unrolls.first,
            last=of_unroll.valid - 1, delay=delay, low=low, high=high,
            name=tf.gather_nd(example["player_ids"], pair), character=tf.gather_nd(example["characters"], pair),
            mirror=mirror, noise=noise,
        )  # fmt: skip
        return _Block(state, actions, tf.stack([tf.cast(column, tf.int32) for column in index], 1))

    def _shuffle(self, unrolls: Unrolls, counter: tf.Tensor) -> Unrolls:
        count = tf.shape(unrolls.first)[0]
        permutation = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed_pair(self.seed, sampling.UNROLLS, counter)
        )
        return Unrolls(*(tf.gather(column, permutation) for column in unrolls))

    def _draw(self, count: tf.Tensor, counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Delay, mirror coin, noise coin: int `[count]`."""
        grid = self.grid
        delay = tf.fill([count], tf.constant(grid.delay_min, tf.int64))
        if grid.delay_max > grid.delay_min:
            seed = seed_pair(self.seed, sampling.DELAY, counter)
            delay = tf.random.stateless_uniform(
                [count], seed, grid.delay_min, grid.delay_max + 1, tf.int64
            )
        mirror = _coin(self.mirror_prob, count, seed_pair(self.seed, sampling.MIRROR, counter))
        noise = _coin(self.noise_prob, count, seed_pair(self.seed, sampling.NOISE, counter))
        return delay, mirror, noise


# -- Batches -------------------------------------------------------------------------------------


def _gather_batches(block: _Block, grid: Grid, batch_size: int) -> tf.data.Dataset:
    """The unrolls of a block, `batch_size` at a time, the last of them fewer: (state, actions,
    index).
    """

    def gather(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        index = _Index(*tf.unstack(rows, axis=1))
        start, stop = (index.base + index.first)[:, None], (index.base + index.last)[:, None]
        time = tf.range(grid.window + 1)[None]
        state = tf.gather(block.state, tf.minimum(start + time[:, :-1], stop))
        actions = tf.gather(block.actions, tf.minimum(start + index.delay[:, None] + time, stop))
        return state, actions, rows

    return tf.data.Dataset.from_tensor_slices(block.index).batch(batch_size).map(gather)


class _Batches:
    """Finishes batches: padding, augmentation, weights, static shapes."""

    def __init__(
        self, config: InputConfig, source: Source, *, seed: int, training: bool, batch_size: int
    ):
        self.config, self.seed, self.batch_size = config, seed, batch_size
        self.augments = training and config.augment and config.augment_from == "live"
        balanced = training and config.balance_characters
        self.character_weights = sampling.character_weights(source.characters if balanced else {})

    def finish(
        self, counter: tf.Tensor, state: tf.Tensor, actions: tf.Tensor, rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The batch of up to `batch_size` unrolls; missing ones are zeros of weight 0."""
        window, missing = self.config.window_size, self.batch_size - tf.shape(rows)[0]
        state = tf.ensure_shape(self._pad(state, missing), [self.batch_size, window, ROW_BYTES])
        actions = tf.ensure_shape(
            self._pad(actions, missing), [self.batch_size, window + 1, ACTION_BYTES]
        )
        index = _Index(
            *tf.unstack(
                tf.ensure_shape(self._pad(rows, missing), [self.batch_size, len(_Index._fields)]),
                axis=1,
            )
        )
        if self.augments and self.config.mirror_prob:
            state, actions = augment.mirror(state, actions, index.mirror == 1)
        if self.augments and self.config.noise_prob:
            seed = seed_pair(self.seed, sampling.NOISE_VALUES, counter)
            state = augment.add_noise(
                state, index.noise == 1, scale=self.config.noise_scale, seed=seed
            )
        time = tf.range(window)[None]
        labelled = (time >= index.low[:, None]) & (time < index.high[:, None])
        weight = tf.gather(self.character_weights, index.character)[:, None]
        return {
            "state": state,
            "actions": actions,
            "weight": tf.where(labelled, weight, 0.0),
            "is_resetting": tf.repeat(time == 0, self.batch_size, axis=0),
            "name": index.name,
            "character": index.character,
            "delay": index.delay,
        }

    @staticmethod
    def _pad(values: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
        zeros = tf.zeros(tf.concat([[missing], tf.shape(values)[1:]], 0), values.dtype)
        return tf.cond(missing > 0, lambda: tf.concat([values, zeros], 0), lambda: values)


# -- Datasets ------------------------------------------------------------------------------------


def from_source(
    config: InputConfig, source: Source, *, batch_size: int, seed: int, training: bool
) -> tf.data.Dataset:
    """`build` on an explicit list of shards."""
    blocks = _Blocks(config, source, seed=seed, training=training)
    batches = _Batches(config, source, seed=seed, training=training, batch_size=batch_size)
    if training:
        records = tf.data.Dataset.counter().flat_map(
            lambda epoch: sampling.training_epoch(config, source, seed=seed, epoch=epoch).map(
                lambda r: (epoch, r)
            )
        )
    else:
        records = sampling.evaluation_epoch(config, source).map(
            lambda r: (tf.constant(0, tf.int64), r)
        )
    dataset = records.enumerate().map(
        lambda counter, element: blocks.decode(counter, *element), num_parallel_calls=_CALLS
    )
    dataset = dataset.interleave(
        lambda block: _gather_batches(_Block(*block), blocks.grid, batch_size),
        cycle_length=2 if training else 1,
        num_parallel_calls=2 if training else None,
    )
    dataset = dataset.rebatch(batch_size, drop_remainder=False).enumerate()
    dataset = dataset.map(
        lambda counter, element: batches.finish(counter, *element), num_parallel_calls=_CALLS
    )
    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options).prefetch(4)


def build(
    data: Manifest | Path | str, config: InputConfig, *, folder: Path | str | None = None, split: str, batch_size: int,
    seed: int, training: bool,
) -> tf.data.Dataset:  # fmt: skip
    """Batches of one split.

    Training repeats forever, an epoch's last unrolls sharing a batch with the next one's first;
    `epoch_size` tells how long an epoch is. Otherwise each unroll comes once, in a fixed order,
    unaugmented, and the last batch is filled up with zeros of weight 0, so that shapes stay static.

    Args:
      data: the dataset's folder or its manifest (then `folder` says where it lies).
      config: see `InputConfig`.
      folder: of the shards.
      split: train, validation or test.
      batch_size: unrolls per batch.
      seed: decides order, delays and augmentation.
      training: see above.

    Returns: a dataset of dicts: `state` uint8 `[batch, time, ROW_BYTES]`: packed rows at frames f …
      f + time - 1, own player first; `actions` uint8 `[batch, time + 1, ACTION_BYTES]`: own
      controller at f + delay … f + delay + time. The input that
        state t answers with, its target, is `actions[:, t + 1]`; the one before it, the previous
        action, `actions[:, t]`;
      `weight` float32 `[batch, time]`: loss weight, 0 for burn-in, padding and inputs before GO;
      `is_resetting` bool `[batch, time]`: True where memory starts empty;
      `name` int32 `[batch]`: player id of the registry, 0 for nobody in particular;
      `character` int32 `[batch]`: own internal character id at the start of the game;
      `delay` int32 `[batch]`: frames.

    Raises: UserError: if the dataset lacks the split or the variants, or its chunks are too short
      for the config.
    """
    source = describe(data, split, folder=folder)
    sampling.check_variants(config, source)
    return from_source(config, source, batch_size=batch_size, seed=seed, training=training)


def epoch_size(
    data: Manifest | Path | str, config: InputConfig, *, folder: Path | str | None = None, split: str, batch_size: int,
    seed: int, training: bool, epoch: int = 0,
) -> EpochSize:  # fmt: skip
    """Exact length of an epoch, from the small features of the records; arguments as for `build`.

    Epochs differ by at most one unroll per game and player, as the grid of unrolls moves from epoch
    to epoch.
    """
    source = describe(data, split, folder=folder)
    grid = config.grid(chunk=source.chunk, overlap=source.overlap, training=training)
    unrolls = frames = 0
    for records in sampling.read_headers(source):
        more = count_unrolls(grid, records, grid.phase(epoch, seed) if training else 0)
        unrolls, frames = unrolls + more[0], frames + more[1]
    return EpochSize(unrolls, frames, -(-unrolls // batch_size))
