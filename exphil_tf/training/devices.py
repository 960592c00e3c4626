"""Which devices a run learns on: `--devices` as words, and TensorFlow's strategy for them.

Free of TensorFlow until the devices are opened.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exphil_tf.foundation.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

ONE, WORKERS = "1", "workers"
"""The device that TensorFlow chooses by itself; those of several processes."""
_NAME = re.compile(r"(CPU|GPU):(\d{1,3})")


def parse_devices(asked: str) -> tuple[str, ...]:
    """Names of the devices that were asked for; empty for the one that TensorFlow chooses.

    Args:
      asked: a count of GPUs, names such as `GPU:0,GPU:2`, or `workers`, which is handed back.

    Raises: ValueError: if it is none of them, or names of both kinds, or one twice.
    """
    if asked == WORKERS:
        return (WORKERS,)
    if asked.isdecimal() and 1 <= int(asked) <= 64:
        return () if int(asked) == 1 else tuple(f"GPU:{i}" for i in range(int(asked)))
    names = tuple(word.strip().upper() for word in asked.split(","))
    is_sound = all(map(_NAME.fullmatch, names)) and len(set(names)) == len(names)
    if not is_sound or len({name[:3] for name in names}) > 1:
        raise ValueError(
            "devices: want a number of GPUs, or names of one kind such as GPU:0,GPU:1, each once. "
            f"Received: {asked!r}"
        )
    return names


def check_batch(batch_size: int, num_devices: int) -> None:
    """Raises ValueError if a batch can't be split evenly."""
    if batch_size % max(1, num_devices):
        raise ValueError(
            f"batch_size: want a multiple of the {num_devices} devices. Received: {batch_size}"
        )


def open_strategy(asked: str, *, batch_size: int) -> tf.distribute.Strategy | None:
    """How TensorFlow joins the devices that were asked for; None for the one that it chooses.

    To be called before TensorFlow runs anything in this process. A CPU is split into as many
    logical ones as their names need: no faster, but what runs on several GPUs can be tried there.

    Args:
      asked: as `parse_devices`.
      batch_size: rows of a batch, over all devices.

    Raises: UserError: if this machine lacks a device, or a batch can't be split evenly.
    """
    names = parse_devices(asked)
    if not names:
        return None
    import tensorflow as tf

    from exphil_tf.training.numerics import share_gpus

    share_gpus()
    if names == (WORKERS,):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        if names[0].startswith("CPU"):
            _split_cpu(1 + max(int(name.partition(":")[2]) for name in names))
        _check_there(asked, names)
        strategy = tf.distribute.MirroredStrategy(list(names))
    try:
        check_batch(batch_size, strategy.num_replicas_in_sync)
    except ValueError as error:
        raise UserError(str(error), "Choose another --batch-size.") from error
    return strategy


def _check_there(asked: str, names: tuple[str, ...]) -> None:
    import tensorflow as tf

    there = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(
            f"--devices {asked}: this machine has no {', '.join(missing)}",
            f"Devices that TensorFlow sees: {', '.join(there)}. "
            "CPU:0,CPU:1 splits a CPU in two, to try it out.",
        )


def _split_cpu(count: int) -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UserError(
                f"--devices: this process uses its CPU already, not as {count} devices",
                "Start the run in a process of its own.",
            ) from error
