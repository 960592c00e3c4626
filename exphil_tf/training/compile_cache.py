"""Compiled steps, kept between runs: XLA's persistent cache, made safe to leave on.

XLA compiles a training step for some 20 s of processor time, and a run of the same network, batch
and options compiles the same again. TensorFlow can keep what it compiled for the CPU; a step loaded
from there is the same machine code, so a run repeats to the bit. It finds an entry by the step's
graph and shapes. What else the machine code depends on (TensorFlow, processor, number of cores,
XLA's flags) is the name of the folder here.

TensorFlow writes entries in place, and a run ends with an error if one is damaged or cannot be
written. So each process has a folder of its own, with links to the entries that are sound by their
checksum, and what it adds is published whole: once a step has been compiled, as the process may be
killed, and when it is done. Where anything is in the way, a step is compiled as ever.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Any

from exphil_tf.foundation import atomic
from exphil_tf.foundation.user_cache import user_cache

_FLAGS = "TF_XLA_FLAGS"
_DIRECTORY = "--tf_xla_persistent_cache_directory"
_PRIVATE = "process-"
_ENTRY = "xla_compile_cache*.pb"
_ROOM_BYTES = 1 << 30
"""Free space below which nothing is kept, and the most that entries take together."""
_ABANDONED_S = 7 * 24 * 3600
"""Age of folders that ended processes left behind."""


@contextlib.contextmanager
def kept_compilations(environ: MutableMapping[str, str], *, is_wanted: bool) -> Iterator[None]:
    """TensorFlow, if it is imported only inside, keeps what it compiles for the CPU.

    Args:
      environ: the process's, which says how TensorFlow compiles.
      is_wanted: whether anything is done at all.
    """
    if not is_wanted or _DIRECTORY in environ.get(_FLAGS, ""):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, RuntimeError):  # no home, no room, no right
            _open(environ, stack)
        yield


class CompilationSink:
    """Publishes what a run has compiled as soon as it tells of it: it may be killed any time.

    Args:
      environ: the process's, within `kept_compilations`.
    """

    def __init__(self, environ: Mapping[str, str]):
        self._environ = environ

    def write(self, event: Mapping[str, Any]) -> None:
        """Takes one event of the run."""
        if event["event"] in ("compiled", "validation"):
            _keep_so_far(self._environ)

    def close(self) -> None:
        """Nothing: the rest is published when `kept_compilations` ends."""


def _keep_so_far(environ: Mapping[str, str]) -> None:
    given = re.search(rf'{_DIRECTORY}="((?:[^"\\]|\\.)*)"', environ.get(_FLAGS, ""))
    if given is not None:
        private = Path(re.sub(r"\\(.)", r"\1", given[1]))
        if private.name.startswith(_PRIVATE):
            _publish(private, private.parent)


def _open(environ: MutableMapping[str, str], stack: contextlib.ExitStack) -> None:
    shared = user_cache() / "xla" / _machine(environ)
    shared.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(shared)
    if shutil.disk_usage(shared).free < _ROOM_BYTES:
        return
    private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=shared))
    stack.callback(shutil.rmtree, private, ignore_errors=True)
    _link(shared, private)
    given = environ.get(_FLAGS)
    quoted = re.sub(r'(["\\])', r"\\\1", str(private))  # TensorFlow's parser ends at a space
    own = f'{_DIRECTORY}="{quoted}" --tf_xla_persistent_cache_device_types=CPU'
    environ[_FLAGS] = f"{given} {own}" if given else own
    stack.callback(_restore, environ, given)
    stack.callback(_publish, private, shared)


def _machine(environ: MutableMapping[str, str]) -> str:
    """Hash of what machine code depends on besides the graph."""
    facts = [metadata.version("tensorflow"), platform.machine(), str(os.cpu_count())]
    facts += [environ.get(_FLAGS, ""), environ.get("XLA_FLAGS", "")]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _link(shared: Path, private: Path) -> None:
    """Entries are called `CHECKSUM.NAME`; a damaged one is deleted."""
    for entry in shared.glob(f"*.{_ENTRY}"):
        digest, _, name = entry.name.partition(".")
        if atomic.sha256(entry) == digest:
            os.link(entry, private / name)
        else:
            entry.unlink(missing_ok=True)


def _publish(private: Path, shared: Path) -> None:
    """What was added; the oldest entries make room."""
    with contextlib.suppress(OSError):
        for entry in private.glob(_ENTRY):
            if entry.stat().st_nlink == 1:
                with contextlib.suppress(FileExistsError):  # another process compiled the same
                    os.link(entry, shared / f"{atomic.sha256(entry)}.{entry.name}")
        entries = sorted(shared.glob(f"*.{_ENTRY}"), key=lambda path: path.stat().st_mtime)
        excess = sum(path.stat().st_size for path in entries) - _ROOM_BYTES
        for entry in entries:
            if excess <= 0:
                break
            excess -= entry.stat().st_size
            entry.unlink(missing_ok=True)


def _restore(environ: MutableMapping[str, str], given: str | None) -> None:
    if given is None:
        environ.pop(_FLAGS, None)
    else:
        environ[_FLAGS] = given


def _sweep(shared: Path) -> None:
    for folder in shared.glob(f"{_PRIVATE}*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)
