"""Soft labels as records: unrolls of bytes with the teacher's logits, written and read as a stream.

A record is a `tf.train.Example` of one unroll: `x`, ZSTD of the byte planes of state, controllers,
loss weights, resets and logits (time last, which compresses best), and the small numbers of the
unroll. Logits are float16, not tempered, so one set of labels serves every temperature. Those of
categories are stored as log-probabilities, which mean the same and whose rounding is least where
the probability is greatest.

Reading shuffles shards, then windows of records, by stateless draws from the seed, as
`data.sampling` does: it repeats exactly and its iterator checkpoints.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf
import zstandard

from exphil_tf.data import sampling
from exphil_tf.data.epoch_size import EpochSize
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import seed_pair
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.features.packing import ACTION_BYTES, ROW_BYTES
from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.cores import usable_cores
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.shards import CorruptShard, frame, read_records
from exphil_tf.training.soft_labels import LABELS, LabelsManifest
from models.heads.distribution import Logits
from models.policy_inputs import Batch, PolicyInputs, policy_inputs

SOFT = "soft_logits"
"""Key of a batch's stored logits, float16 `[batch, time, logits]`."""
SHARD_UNROLLS = 512
_SMALL = ("name", "character", "delay")
_LARGEST = 6e4  # float16 ends at 65504
_CALLS = max(2, min(8, usable_cores()))
_PREFETCHED = 4


TeacherLogitsFn = Callable[[Batch, PolicyInputs], Logits]
"""A teacher's logits for a training batch, float32 by component, `[batch, time, buckets]`, before
any temperature; runs inside the compiled step."""


# -- Writing ---------------------------------------------------------------------------------------


def write_records(
    folder: Path,
    batches: Iterable[Batch],
    stored_logits_fn: Callable[[Batch], np.ndarray],
    *,
    count: int,
    on_unrolls: Callable[[int], None] = lambda _: None,
) -> tuple[str, ...]:
    """Writes the first `count` unrolls of a stream of batches, in its order, shard after shard.

    One batch and one record are in memory at a time.

    Args:
      folder: an empty one.
      batches: of `exphil_tf.data.input.build`.
      stored_logits_fn: of `compile_stored_logits`.
      count: unrolls.
      on_unrolls: told the unrolls done so far, once per batch.

    Returns: the shards' names.

    Raises: UserError: if a logit is NaN or infinite; OSError: if the disk is full.
    """
    records = itertools.islice(_serialised(batches, stored_logits_fn, on_unrolls), count)
    names: list[str] = []
    for first in records:
        shard = itertools.chain([first], itertools.islice(records, SHARD_UNROLLS - 1))
        names.append(f"labels-{len(names):05d}.tfrecord")
        write_file(folder / names[-1], map(frame, shard))
    return tuple(names)


def compile_stored_logits(
    teacher_logits_fn: TeacherLogitsFn, codec: ControllerCodec, *, jit: bool
) -> Callable[[Batch], np.ndarray]:
    """Compiles what is stored of a teacher: a batch in, float16 `[batch, time, logits]` out."""

    @tf.function(jit_compile=jit, autograph=False)
    def forward(batch: dict[str, Any]) -> Any:
        logits = teacher_logits_fn(batch, policy_inputs(batch, codec))
        parts = [logits["buttons"], *(tf.nn.log_softmax(logits[n]) for n in COMPONENTS[1:])]
        joined = tf.concat(parts, -1)
        return tf.cast(tf.clip_by_value(joined, -_LARGEST, _LARGEST), tf.float16)

    def stored_logits(batch: Batch) -> np.ndarray:
        found = forward(dict(batch)).numpy()
        if not np.isfinite(found).all():
            raise UserError(
                "teacher: its answer is NaN or infinite",
                "Choose another teacher, or check the data: python -m exphil_tf.verify.",
                exit_code=EXIT_DATA,
            )
        return found

    return stored_logits


def _serialised(
    batches: Iterable[Batch],
    stored_logits_fn: Callable[[Batch], np.ndarray],
    on_unrolls: Callable[[int], None],
) -> Iterator[bytes]:
    done = 0
    compressor = zstandard.ZstdCompressor(level=3)
    for batch in batches:
        soft = stored_logits_fn(batch)
        values = {name: np.asarray(value) for name, value in batch.items()}
        for row in range(len(soft)):
            unroll = {name: value[row] for name, value in values.items()}
            yield _example(compressor.compress(_planes(unroll, soft[row])), unroll)
        done += len(soft)
        on_unrolls(done)


def _planes(unroll: dict[str, np.ndarray], soft: np.ndarray) -> bytes:
    """Bytes of an unroll in the order that `_Planes` reads; little-endian."""
    parts = (
        unroll["state"].T,
        unroll["actions"].T,
        unroll["weight"].astype("<f4"),
        unroll["is_resetting"].astype(np.uint8),
        soft.astype("<f2").T,
    )
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def _example(blob: bytes, unroll: dict[str, np.ndarray]) -> bytes:
    feature = {"x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[blob]))}
    for name in _SMALL:
        number = tf.train.Int64List(value=[int(unroll[name])])
        feature[name] = tf.train.Feature(int64_list=number)
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


# -- Reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoftLabels:
    """Finished soft labels as training data, and as the teacher's logits for it."""

    place: Path
    """The folder that `generate_soft_labels` was given."""
    manifest: LabelsManifest
    codec: ControllerCodec
    input: InputConfig
    """Window, and how much is shuffled at a time, in unrolls."""
    batch_size: int
    """Unrolls per batch."""
    seed: int
    """Decides the order."""

    def logits(self, batch: Batch, inputs: PolicyInputs) -> Logits:
        """The stored ones, of a batch of `batches`; a `TeacherLogitsFn`."""
        del inputs
        sizes = [self.codec.sizes[name] for name in COMPONENTS]
        parts = tf.split(tf.cast(batch[SOFT], tf.float32), sizes, axis=-1)
        return dict(zip(COMPONENTS, parts, strict=True))

    def epoch_size(self) -> EpochSize:
        """Length of one pass, the mean over the passes that are stored."""
        passes = self.manifest.passes
        unrolls = max(1, round(self.manifest.unrolls / passes))
        frames = round(self.manifest.labelled_frames / passes)
        return EpochSize(unrolls, frames, -(-unrolls // self.batch_size))

    def batches(self) -> tf.data.Dataset:
        """Endless batches, as those of `data.input.build` in training, with `SOFT` beside them."""
        num_logits = sum(self.codec.sizes.values())
        planes = _Planes(self.input.window_size, num_logits, self.batch_size)
        dataset = tf.data.Dataset.counter().flat_map(self._records)
        dataset = dataset.batch(self.batch_size, drop_remainder=True)
        dataset = dataset.map(planes.parse, num_parallel_calls=_CALLS)
        options = tf.data.Options()
        options.deterministic = True
        return dataset.with_options(options).prefetch(_PREFETCHED)

    @tf.autograph.experimental.do_not_convert
    def _records(self, number: tf.Tensor) -> tf.data.Dataset:
        """Every stored unroll once, still compressed, in the order of round `number`."""
        folder, seed = self.place / LABELS, self.seed
        paths = tf.constant([str(folder / name) for name in self.manifest.shards])
        paths = sampling.shuffle(paths, seed_pair(seed, sampling.FILES, number))

        @tf.autograph.experimental.do_not_convert
        def mix(index: tf.Tensor, records: tf.Tensor) -> tf.data.Dataset:
            pair = seed_pair(seed, sampling.RECORDS, number * 2**32 + index)
            return tf.data.Dataset.from_tensor_slices(sampling.shuffle(records, pair))

        read = tf.data.Dataset.from_tensor_slices(paths).interleave(
            lambda path: tf.data.TFRecordDataset(path, buffer_size=1 << 20),
            cycle_length=self.input.shuffle_files,
            block_length=1,
        )
        return read.batch(self.input.shuffle_records).enumerate().flat_map(mix)  # pyright: ignore

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turns TensorFlow's "corrupted record" in its body into an error that names the shard.

        Raises: UserError: (65) for damaged or vanished shards.
        """
        try:
            yield
        except sampling.READ_ERRORS as error:
            problem = self._damage()
            if not problem:
                raise
            next_step = "Generate them again: python -m exphil_tf.generate_soft_labels."
            raise UserError(problem, next_step, exit_code=EXIT_DATA) from error

    def _damage(self) -> str:
        for name in self.manifest.shards:
            path = self.place / LABELS / name
            try:
                for _ in read_records(path):
                    pass
            except FileNotFoundError:
                return f"{path}: vanished while it was read"
            except CorruptShard as error:
                return f"{path.parent / str(error)}"
        return ""


class _Planes:
    """Byte planes of `_planes` back into the tensors of a batch.

    Args:
      window: frames of an unroll.
      num_logits: of the codec, all components together.
      batch_size: unrolls.
    """

    def __init__(self, window: int, num_logits: int, batch_size: int):
        self._window, self._num_logits, self._batch = window, num_logits, batch_size
        self._sizes = [
            ROW_BYTES * window,
            ACTION_BYTES * (window + 1),
            4 * window,
            window,
            2 * num_logits * window,
        ]

    @tf.autograph.experimental.do_not_convert
    def parse(self, serialised: tf.Tensor) -> dict[str, tf.Tensor]:
        """Records string `[batch]` to a batch."""
        spec: dict[str, Any] = {"x": tf.io.FixedLenFeature([], tf.string)}
        spec |= {name: tf.io.FixedLenFeature([], tf.int64) for name in _SMALL}
        example = cast(dict[str, tf.Tensor], tf.io.parse_example(serialised, spec))
        flat = tf.io.decode_raw(tf.io.decode_compressed(example["x"], "ZSTD"), tf.uint8)
        flat = tf.ensure_shape(flat, [self._batch, sum(self._sizes)])
        state, actions, weight, resets, soft = tf.split(flat, self._sizes, axis=1)
        batch, time = self._batch, self._window
        logits = tf.bitcast(tf.reshape(soft, [batch, self._num_logits, time, 2]), tf.float16)
        return {
            "state": tf.transpose(tf.reshape(state, [batch, ROW_BYTES, time]), [0, 2, 1]),
            "actions": tf.transpose(
                tf.reshape(actions, [batch, ACTION_BYTES, time + 1]), [0, 2, 1]
            ),
            "weight": tf.bitcast(tf.reshape(weight, [batch, time, 4]), tf.float32),
            "is_resetting": resets > 0,
            SOFT: tf.transpose(logits, [0, 2, 1]),
            **{name: tf.cast(example[name], tf.int32) for name in _SMALL},
        }
