"""Input: unrolls per second of the block idiom, against memcpy and the naive window idiom."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.benchmarking.timing import Timed, best, for_seconds
from exphil_tf.data import input as data_input
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import RECORD_FEATURES, Source, describe
from exphil_tf.features.packing import ROW_BYTES, action_order, perspective_order

BATCH = 256
WINDOW = 60
_COPIED = 1 << 28


def _memcpy() -> Timed:
    """Bytes per second of copying arrays that no cache holds."""
    source, target = np.ones(_COPIED, np.uint8), np.ones(_COPIED, np.uint8)

    def copy() -> int:
        np.copyto(target, source)
        return _COPIED

    return min((best(copy) for _ in range(3)), key=lambda timed: timed.wall_s)


def _naive(source: Source, *, stride: int, calls: int | None = None) -> tf.data.Dataset:
    """What most tutorials do: decode a record, `Dataset.window`, shuffle windows, batch.

    Args:
      source: records.
      stride: frames between the starts of windows.
      calls: cut that many records in parallel, which few tutorials think of; none: in turn.
    """
    orders = np.stack([perspective_order(player) for player in range(2)])
    controls = action_order(0)

    def views(record: tf.Tensor) -> tf.data.Dataset:
        spec: dict[str, Any] = {"x": tf.io.FixedLenFeature([], tf.string), **RECORD_FEATURES}
        example: Any = tf.io.parse_single_example(record, spec)
        planes = tf.io.decode_raw(tf.io.decode_compressed(example["x"], "ZSTD"), tf.uint8)
        planes = tf.reshape(planes, [ROW_BYTES, -1])[:, : example["n"]]
        views = tf.gather(planes, orders)
        return tf.data.Dataset.from_tensor_slices(tf.transpose(views, [0, 2, 1]))

    def windows(rows: tf.Tensor) -> tf.data.Dataset:
        frames = tf.data.Dataset.from_tensor_slices(rows)
        cut = frames.window(WINDOW + 1, shift=stride, drop_remainder=True)
        return cut.flat_map(lambda window: window.batch(WINDOW + 1, drop_remainder=True))

    def finish(window: Any) -> dict[str, tf.Tensor]:
        actions = tf.gather(window, controls, axis=-1)
        return {"state": window[:, :-1], "actions": actions}

    files = tf.data.Dataset.from_tensor_slices(list(source.shards["original"])).repeat()
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=4)
    rows = records.flat_map(views)
    if calls is None:
        cut = rows.flat_map(windows)
    else:
        cut = rows.interleave(windows, cycle_length=8, num_parallel_calls=calls)
    batches = cut.shuffle(2048, seed=0).batch(BATCH, drop_remainder=True)
    return batches.map(finish, num_parallel_calls=2).prefetch(2)


def _rate(dataset: tf.data.Dataset, *, seconds: float) -> tuple[Timed, int]:
    """Unrolls drawn, and the bytes of one."""
    batches: Iterator[Any] = iter(dataset)
    element = next(batches)
    size = sum(part.shape.num_elements() * part.dtype.size for part in element.values())

    def draw() -> int:
        next(batches)
        return BATCH

    return for_seconds(draw, seconds=seconds), size // BATCH


def run(data: Path, *, seconds: float) -> Report:
    """Times every way of cutting and augmenting.

    Args:
      data: a finished dataset.
      seconds: per row.
    """
    source = describe(data, "train")

    def blocks(**options: Any) -> Callable[[], tf.data.Dataset]:
        config = InputConfig(window_size=WINDOW, **options)
        return lambda: data_input.from_source(
            config, source, batch_size=BATCH, seed=0, training=True
        )

    ways: dict[str, tuple[int, Callable[[], tf.data.Dataset]]] = {
        "naive, windows (stride 1)": (1, lambda: _naive(source, stride=1)),
        "naive in parallel, windows": (1, lambda: _naive(source, stride=1, calls=2)),
        "naive, unrolls": (WINDOW, lambda: _naive(source, stride=WINDOW)),
        "naive in parallel, unrolls": (WINDOW, lambda: _naive(source, stride=WINDOW, calls=2)),
        "windows (stride 1)": (1, blocks(stride=1)),
        "windows, mirror and noise": (1, blocks(stride=1, augment=True)),
        "unrolls": (WINDOW, blocks()),
        "unrolls, mirror": (WINDOW, blocks(augment=True, noise_prob=0.0)),
        "unrolls, mirror and noise": (WINDOW, blocks(augment=True)),
        "unrolls, random delay": (WINDOW, blocks(online_robust=True)),
        "carried": (WINDOW, blocks(carry_state=True)),
        "carried, mirror and noise": (WINDOW, blocks(carry_state=True, augment=True)),
    }
    copy = _memcpy()
    rows: dict[str, dict[str, float]] = {"memcpy": {"GB/s": copy.per_s / 1e9}}
    naive: dict[int, Timed] = {}
    for name, (stride, make) in ways.items():
        timed, size = _rate(make(), seconds=seconds)
        naive.setdefault(stride, timed)
        rows[name] = {
            "unrolls/s": timed.per_s,
            "frames/s": timed.per_s * WINDOW,
            "unrolls/CPU-s": timed.per_cpu_s,
            "GB/s": timed.per_s * size / 1e9,
            "ratio to memcpy": timed.per_s * size / copy.per_s,
            "ratio to naive": timed.per_s / naive[stride].per_s,
            "CPU ratio to naive": timed.per_cpu_s / naive[stride].per_cpu_s,
        }
    columns = tuple(dict.fromkeys(name for row in rows.values() for name in row))
    return Report(
        f"Input: batches of {BATCH} unrolls of {WINDOW} frames, packed rows of {ROW_BYTES} bytes",
        columns,
        rows,
        (
            "Unrolls lie end to end and label every frame once; windows overlap by all but one "
            "frame, so that a decoded row is copied 60 times. Carried: each row of a batch walks "
            "through a game (--carry-state).",
            "memcpy: one thread, 256 MB. Naive: Dataset.window → flat_map(batch) → shuffle → "
            "batch, on the same records; in parallel: two records at a time, by interleave.",
        ),
    )
