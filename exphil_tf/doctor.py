"""Looks whether this machine is fit to train: one line for each thing, and what to do about it.

    python -m exphil_tf.doctor [--replays DIR] [--smoke]

Exit code 65 if something is missing without which nothing works; what is merely useful is a note.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exphil_tf.cloud.bucket import has_obstore
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.checkup import Check, show
from exphil_tf.process.console import make_console
from exphil_tf.process.cores import usable_cores
from exphil_tf.process.memory import device_memory
from exphil_tf.replays import formats
from exphil_tf.training.smoke import run_command, smoke

PROG = "python -m exphil_tf.doctor"
PACKAGES = ("tensorflow", "keras", "numpy", "peppi-py", "apache-beam", "onnxruntime", "melee")
TOOLS = {
    "git": "notes the commit in what a run records",
    "tmux": "keeps a run going when a connection breaks",
    "rclone": "copies replays and runs to and from a store",
}
LEAST_DISK = 20 << 30
_MOST_COUNTED = 100_000
_GIB = 1 << 30


@dataclass(frozen=True)
class DoctorConfig:
    """Looks whether this machine is fit to train."""

    KIND: ClassVar = Kind.RESULT

    replays: Path = option(Path("replays"), kind=Kind.SOURCE)
    """Folder of replays to look for."""
    work_dir: Path = option(Path(), kind=Kind.PLACE)
    """Folder whose disk datasets and runs will be on."""
    tensorflow: bool = True
    """Also load TensorFlow, list its devices and compile something; takes some seconds."""
    smoke: bool = False
    """Also make games, train a tiny policy on them, export it and let it play; takes a minute."""


def main(argv: Sequence[str]) -> int:
    """Prints a line for each check; returns the exit code."""
    config = load(DoctorConfig, argv, prog=PROG)
    return show(examine(config, os.environ), make_console())


def examine(config: DoctorConfig, environ: Mapping[str, str]) -> Iterator[Check]:
    """Every check, as soon as its answer is there."""
    yield _python()
    yield _packages()
    yield _processor()
    yield _gpu()
    yield disk(config.work_dir, shutil.disk_usage)
    yield replays(config.replays)
    if config.tensorflow:
        yield from _tensorflow()
    yield _wandb(environ)
    yield _storage(environ)
    yield from (_tool(name, use) for name, use in TOOLS.items())
    if config.smoke:
        yield from smoke(run_command)


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info[:2] in ((3, 11), (3, 12), (3, 13)):
        return Check("Python", "ok", version)
    return Check("Python", "fail", version, "Use 3.11, 3.12 or 3.13.")


def _packages() -> Check:
    found: list[str] = []
    missing: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", f"{', '.join(missing)} missing", "Run make again.")
    return Check("packages", "ok", ", ".join(found))


def _processor() -> Check:
    with_memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with_memory = f", {size / _GIB:.0f} GiB of memory"
    return Check("processor", "ok", f"{usable_cores()} cores{with_memory}")


def _gpu() -> Check:
    found = device_memory()
    if not found:
        return Check(
            "GPU",
            "note",
            "none that nvidia-smi tells of",
            "Training works without; a GPU needs NVIDIA's driver, in Docker --gpus all.",
        )
    sizes = (f"{total / _GIB:.0f} GiB ({used / _GIB:.1f} used)" for used, total in found)
    return Check("GPU", "ok", ", ".join(sizes))


def disk(folder: Path, usage: Callable[[Path], tuple[int, int, int]]) -> Check:
    """Room for datasets and runs.

    Args:
      folder: where they will be.
      usage: `shutil.disk_usage`.
    """
    try:
        free = usage(folder)[2]
    except OSError as error:
        return Check("disk", "fail", f"{folder}: {error.strerror}", "Choose another --work-dir.")
    found = f"{free / _GIB:.0f} GiB free in {folder.resolve()}"
    if free >= LEAST_DISK:
        return Check("disk", "ok", found)
    least = LEAST_DISK // _GIB
    return Check("disk", "note", found, f"A large collection wants {least} GiB: free some.")


def replays(folder: Path) -> Check:
    """Replays or archives of them in a folder."""
    if not folder.is_dir():
        return Check(
            "replays",
            "note",
            f"no folder {folder}",
            "Give --replays DIR to commands; python -m exphil_tf.samples makes some to try with.",
        )
    kinds = (formats.kind_of(path.name) for path in folder.rglob("*"))
    files = (kind for kind in kinds if kind not in (None, formats.Kind.OTHER))
    count = sum(1 for _ in itertools.islice(files, _MOST_COUNTED))
    if not count:
        return Check("replays", "fail", f"none in {folder}", "Put .slp files or archives there.")
    return Check("replays", "ok", f"{count:,} files in {folder}")


def _tensorflow() -> Iterator[Check]:
    """Its devices, and whether XLA compiles and computes right."""
    try:
        with quiet_import():
            import tensorflow as tf
        names = [device.name for device in tf.config.list_physical_devices()]
        devices = [name.removeprefix("/physical_device:") for name in names]
        yield Check("TensorFlow", "ok", f"{tf.__version__} on {', '.join(devices)}")

        @tf.function(jit_compile=True, autograph=False)
        def product(x: tf.Tensor) -> tf.Tensor:
            return tf.linalg.matmul(x, x)

        found = float(tf.reduce_sum(product(tf.fill((64, 64), 0.5))))
    except Exception as error:  # whatever is wrong with a driver, it is told
        text = (str(error).splitlines() or [type(error).__name__])[0]
        yield Check("XLA", "fail", text[:200], "Compare the driver's CUDA version with the lock's.")
        return
    if found != 64 * 64 * 16.0:
        yield Check("XLA", "fail", f"computed {found}, want 65536", "Try --no-jit; report this.")
        return
    yield Check("XLA", "ok", "compiles and computes")


def _wandb(environ: Mapping[str, str]) -> Check:
    if importlib.util.find_spec("wandb") is None:
        return Check("W&B", "note", "not installed", "Only --wandb needs it: the extra `wandb`.")
    where = "online, as WANDB_API_KEY is set" if environ.get("WANDB_API_KEY") else "offline"
    return Check("W&B", "ok", f"there, {where}")


def _storage(environ: Mapping[str, str]) -> Check:
    """Whether runs and replays can be copied to a bucket, as far as can be told from here."""
    if not has_obstore():
        return Check(
            "storage", "note", "obstore is not installed",
            "Only sync and --sync with a bucket need it: the extra `cloud`.",
        )  # fmt: skip
    keys = {"B2": "B2_KEY_ID", "R2": "R2_ACCESS_KEY", "S3": "AWS_ACCESS_KEY_ID"}
    found = [
        kind for kind, name in keys.items() if environ.get(name) or environ.get(f"{name}_FILE")
    ]
    if not found:
        return Check("storage", "note", "no keys in the environment", "docs/storage.md says which.")
    return Check("storage", "ok", f"keys of {', '.join(found)} in the environment")


def _tool(name: str, use: str) -> Check:
    found = shutil.which(name)
    return Check(name, "ok", found) if found else Check(name, "note", "not there", f"It {use}.")


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
