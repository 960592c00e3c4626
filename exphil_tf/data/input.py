"""Batches of packed unrolls from TFRecord shards, as one `tf.data` graph.

Records are decoded in blocks (`data.blocks`); what is shuffled are unroll *indices* into a block,
and the rows of a batch are copied by one gather (`data.batches`). The per-window idioms
(`Dataset.window`, a slice per window, shuffling windows) cost 14 times the CPU for overlapping
windows and 4 times for unrolls that lie end to end, where the transposition of rows is most of the
work and each row is copied once only (`python -m exphil_tf.benchmark input`).

Everything is drawn from `seed` and counters (epoch, block, batch) by stateless ops, so a run
repeats exactly, the iterator checkpoints with `tf.train.Checkpoint` and resumes bit for bit.
`Dataset.shuffle` was avoided, as its order also depends on the global seed of the process.
Symbolic checkpoints would be small, but TensorFlow 2.21 hangs on restoring them.

Batches hold bytes: `data.unpack` turns them into typed columns inside the training step, on the
accelerator.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from exphil_tf.data import carried, sampling
from exphil_tf.data.batches import BatchCutter, BatchFinisher
from exphil_tf.data.blocks import BlockDecoder
from exphil_tf.data.carried import PieceDecoder, StepCutter
from exphil_tf.data.cursors import Cursors, Pieces
from exphil_tf.data.games import GameReader
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import Source, describe
from exphil_tf.process.cores import usable_cores
from exphil_tf.records.manifest import Manifest

_CALLS = max(2, min(8, usable_cores()))
"""Blocks decoded and batches finished at a time: bounds memory on machines with many cores."""
_PREFETCHED = 4
"""Finished batches held ready."""


@tf.autograph.experimental.do_not_convert
def from_source(
    config: InputConfig, source: Source, *, batch_size: int, seed: int, training: bool
) -> tf.data.Dataset:
    """`build` on an explicit list of shards."""
    if config.carry_state:
        batches = _carried(config, source, batch_size=batch_size, seed=seed, training=training)
    else:
        batches = _shuffled(config, source, batch_size=batch_size, seed=seed, training=training)
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(_PREFETCHED)


def _shuffled(
    config: InputConfig, source: Source, *, batch_size: int, seed: int, training: bool
) -> tf.data.Dataset:
    """Batches of unrolls by themselves, in any order."""
    blocks = BlockDecoder(config, source, seed=seed, training=training)
    cutter = BatchCutter(blocks.grid, batch_size)
    finisher = BatchFinisher(config, source, training=training, batch_size=batch_size)
    if training:
        dataset = sampling.training_records(config, source, seed=seed)
    else:
        dataset = sampling.evaluation_records(config, source)
    dataset = dataset.enumerate().map(blocks.decode, num_parallel_calls=_CALLS)
    dataset = dataset.scan(cutter.nothing(), cutter.carry)
    dataset = dataset.interleave(cutter.cut, cycle_length=1, num_parallel_calls=1)  # pyright: ignore
    return dataset.map(finisher.finish, num_parallel_calls=_CALLS)


def _carried(
    config: InputConfig, source: Source, *, batch_size: int, seed: int, training: bool
) -> tf.data.Dataset:
    """Batches whose rows walk through games, each going on where it was.

    For training, that was as many batches ago as a row has cursors that take turns.
    """
    games = GameReader(config, source, seed=seed, training=training)
    turns = config.cursors_per_row if training else 1
    cursors = Cursors(games.grid, count=batch_size * turns, seed=seed, staggered=training)
    pieces = PieceDecoder(config, games.grid, seed=seed, training=training)
    cutter = StepCutter(games.grid, batch_size, turns=turns)
    finisher = BatchFinisher(
        config, source, training=training, batch_size=batch_size, begins_fn=carried.begins
    )

    def in_blocks(dealt: Pieces) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(dealt).batch(config.records_at_once(batch_size))

    dataset = games.windows().scan(cursors.start(), cursors.deal_next)
    dataset = dataset.flat_map(in_blocks)
    if not training:
        dataset = dataset.concatenate(tf.data.Dataset.from_tensors(cursors.start().waiting))
    dataset = dataset.enumerate().map(pieces.decode, num_parallel_calls=_CALLS)
    dataset = dataset.scan(cutter.nothing(), cutter.carry)
    dataset = dataset.interleave(cutter.cut, cycle_length=1, num_parallel_calls=1)  # pyright: ignore
    return dataset.map(finisher.finish, num_parallel_calls=_CALLS)


def build(
    data: Manifest | Path | str,
    config: InputConfig,
    *,
    folder: Path | str | None = None,
    split: str,
    batch_size: int,
    seed: int,
    training: bool,
) -> tf.data.Dataset:
    """Batches of one split.

    Training repeats forever, an epoch's last unrolls sharing a batch with the next one's first;
    `data.epoch_size` tells how long an epoch is. Otherwise each unroll comes once, in a fixed
    order, unaugmented, and the last batch is filled up with zeros of weight 0, so that shapes stay
    static.

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
      `name` int32 `[batch]`: player id that the policy is told, 0 for nobody in particular;
      `character` int32 `[batch]`: own internal character id at the start of the game;
      `delay` int32 `[batch]`: frames;
      `return` int32 `[batch, time]`, if returns are told: level of the return of the second in
        which the frame's answer takes effect, 0 where it is hidden or not known.

    Raises: UserError: if the dataset lacks the split or the variants, or its chunks are too short
      for the config.
    """
    source = describe(data, split, folder=folder)
    sampling.check_variants(config, source)
    return from_source(config, source, batch_size=batch_size, seed=seed, training=training)


@contextmanager
def named_shard_errors(
    data: Manifest | Path | str, *, folder: Path | str | None = None, split: str
) -> Iterator[None]:
    """Turns TensorFlow's "corrupted record at 4711" in its body into an error that names the shard.

    Raises:
      UserError: for damaged or vanished shards, with the next step.
    """
    try:
        yield
    except sampling.READ_ERRORS as error:
        problem = sampling.find_damage(describe(data, split, folder=folder))
        if problem is None:
            raise
        raise problem from error
