"""Which devices a run learns on: `--devices` as words, and the TensorFlow devices that they name.

Free of TensorFlow until the devices are opened.
"""

import re
from collections.abc import Sequence
from typing import Any

from exphil_tf.foundation.errors import UserError

ONE = "1"
"""The device that TensorFlow chooses by itself."""
_NAME = re.compile(r"(CPU|GPU):(\d{1,3})")


def parse_devices(asked: str) -> tuple[str, ...]:
    """Names of the devices that were asked for; empty for the one that TensorFlow chooses.

    Args:
      asked: a count of GPUs, or names such as `GPU:0,GPU:2`.

    Raises: ValueError: if it is neither, or names of both kinds, or one twice.
    """
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


def open_devices(asked: str) -> tuple[str, ...]:
    """The devices of `parse_devices`, there and usable; call it before TensorFlow runs anything.

    A CPU is split into as many logical ones as their names need: no faster, but what runs on
    several GPUs can be tried there.

    Raises: UserError: if this machine lacks one.
    """
    names = parse_devices(asked)
    if not names:
        return names
    import tensorflow as tf

    if names[0].startswith("CPU"):
        _split_cpu(tf, 1 + max(_number(name) for name in names))
    there = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(
            f"--devices {asked}: this machine has no {', '.join(missing)}",
            f"Devices that TensorFlow sees: {', '.join(there)}. "
            "CPU:0,CPU:1 splits a CPU in two, to try it out.",
        )
    return names


def _split_cpu(tf: Any, count: int) -> None:
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


def check_batch(batch_size: int, devices: Sequence[str]) -> None:
    """Raises ValueError if a batch can't be split evenly."""
    if devices and batch_size % len(devices):
        raise ValueError(
            f"batch_size: want a multiple of the {len(devices)} devices. Received: {batch_size}"
        )


def _number(name: str) -> int:
    return int(name.partition(":")[2])
