"""Files and folders that are complete or absent, whatever happens while they are written.

A file is written under a temporary name in the same folder, flushed, fsynced and renamed, and then
its folder is fsynced. A folder is written under a temporary name beside its target, every file of
it is fsynced, a list of sizes and sha256 sums is written last, and one rename makes the whole
visible: a reader that finds the folder can check every byte against that list.

What a killed process leaves behind begins with `TEMPORARY`; whoever owns the place sweeps it, and
so does whoever writes the same target next: the lock that a writer holds on its temporary ends with
it.

Alternatives that lost: Keras' own saves (a kill leaves 16 to 19 of 20 unreadable, and
`.weights.h5` has no checksum), Orbax (brings in JAX).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, NoReturn

from exphil_tf.process.file_lock import try_lock

TEMPORARY = ".tmp-"
"""Prefix of everything that is not finished."""
REPLACED = ".old-"
"""Prefix of a folder that is being replaced, where two cannot be swapped in one call."""
CHECKSUMS = "checksums.json"
MAX_JSON = 16 << 20
"""Bytes of the largest JSON file that is read."""
_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h


# -- Files -----------------------------------------------------------------------------------------


class Written(NamedTuple):
    """A finished file."""

    path: str
    sha256: str
    bytes: int


def write_file(path: Path, parts: Iterable[bytes]) -> Written:
    """Writes a file whole or not at all.

    Args:
      path: its final name; an existing file is replaced.
      parts: the bytes, in order.

    Raises:
      OSError: as the system does (disk full…); the file of that name is then as before. A device or
        pipe is not replaced.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "no regular file", str(path))
    sweep_beside(path)
    with naming(path):
        temporary, opened = _create(path)
    digest, size = hashlib.sha256(), 0
    try:
        with naming(path), opened as file:
            for part in parts:
                digest.update(part)
                size += len(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync(path.parent)
    return Written(path.name, digest.hexdigest(), size)


def _create(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary and its locked file; another name if somebody swept it before the lock."""
    while True:
        temporary = _temporary_name(path)
        file = temporary.open("xb")
        try_lock(file.fileno())
        if temporary.exists():
            return temporary, file
        file.close()


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file that is at any moment either the old one or the new one, whole."""
    write_file(path, [data])


def write_json(path: Path, value: Any) -> None:
    """Writes plain values as indented JSON, atomically; NaN and infinity are refused."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Plain values of a JSON file that somebody else may have written.

    Raises:
      OSError: if it cannot be read.
      ValueError: if it is no regular file, too large, nested too deeply, or no JSON; NaN, infinite
        numbers and halves of characters are none.
    """
    if not path.is_file() or path.stat().st_size > MAX_JSON:
        raise ValueError(f"{path.name}: want a file of at most {MAX_JSON:,} bytes")
    try:
        text = path.read_bytes().decode()
        values = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
        json.dumps(values, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError(f"{path.name}: nested too deeply") from error
    return values


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"want finite numbers. Received: {text}")


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse_number(text[:40])


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system say no name, or a temporary one; within, they say this one."""
    try:
        yield
    except OSError as error:
        name = error.filename
        is_temporary = isinstance(name, str) and Path(name).name.startswith(
            f"{TEMPORARY}{path.name}"
        )
        if error.errno is not None and (name is None or is_temporary):
            error.filename, error.filename2 = str(path), None
        raise


# -- Folders ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def publish(target: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; on leaving, it becomes `target`, replacing what stood there.

    An exception inside leaves `target` as it was and no temporary folder.

    Raises: OSError: if a file can't be written or renamed. What is no folder is not replaced.
    """
    if target.exists() and not target.is_dir():
        raise FileExistsError(errno.EEXIST, "no folder", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_beside(target)
    temporary = _temporary_name(target)
    with naming(target):
        temporary.mkdir()
    try:
        with naming(target), _kept_from_sweeping(temporary):
            yield temporary
            write_json(temporary / CHECKSUMS, {"files": _sums(temporary)})
            for path in (*_files(temporary), temporary):
                _fsync(path)
            _rename_over(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _fsync(target.parent)


def require_unpublished(directory: Path, seals: Sequence[str] = (CHECKSUMS,)) -> None:
    """Refuses a place for files that are not of a published folder: with them it would be unsound.

    Args:
      directory: the place.
      seals: files that show a folder to be finished, as they list what is in it.

    Raises: PermissionError: naming the folder.
    """
    for seal in seals:
        if (directory / seal).is_file():
            what = f"finished ({seal}), another file would damage it"
            raise PermissionError(errno.EPERM, what, str(directory))


def problems(directory: Path) -> list[str]:
    """What is wrong with a published folder, one sentence each; empty if nothing changed."""
    try:
        listed = read_json(directory / CHECKSUMS)["files"]
        wanted = {name: (entry["sha256"], entry["bytes"]) for name, entry in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{CHECKSUMS}: not readable ({type(error).__name__})"]
    found = []
    for name, (digest, size) in wanted.items():
        path = directory / name
        if not _is_inside(name):
            found.append(f"{CHECKSUMS}: {name!r:.80} is no file of this folder")
        elif not os.path.isfile(path):  # noqa: PTH113 - false for names that no system can hold
            found.append(f"{name}: missing")
        elif path.stat().st_size != size:
            found.append(f"{name}: want {size} bytes. Received: {path.stat().st_size}")
        elif sha256(path) != digest:
            found.append(f"{name}: its bytes changed since it was written (sha256 differs)")
    extra = {path.name for path in _files(directory)} - set(wanted) - {CHECKSUMS}
    return found + [f"{name}: not in {CHECKSUMS}" for name in sorted(extra)]


def _is_inside(name: str) -> bool:
    """Whether a listed name stays in its folder, so that nothing else is opened for it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name.isprintable()


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _sums(directory: Path) -> dict[str, dict[str, Any]]:
    return {
        str(path.relative_to(directory)): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in _files(directory)
    }


def _rename_over(source: Path, target: Path) -> None:
    if not target.exists():
        os.rename(source, target)  # noqa: PTH104 - os is shimmed in tests
        return
    if _exchange(source, target):
        shutil.rmtree(source, ignore_errors=True)
        return
    # Two renames: `sweep` puts the old folder back if we are killed between them.
    old = target.with_name(f"{REPLACED}{target.name}-{secrets.token_hex(4)}")
    os.rename(target, old)  # noqa: PTH104 - os is shimmed in tests
    os.rename(source, target)  # noqa: PTH104 - os is shimmed in tests
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, two: Path) -> bool:
    """Swaps two folders in one system call, where the system and the file system can."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE)
    return renameat2(*arguments) == 0


@contextlib.contextmanager
def _kept_from_sweeping(folder: Path) -> Iterator[None]:
    """Within, `sweep_beside` of another process leaves this temporary folder alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


# -- What killed writers left ----------------------------------------------------------------------


def sweep(directory: Path) -> list[Path]:
    """Removes what a killed writer left in a folder and undoes its half-done replacements.

    Only the one process that may write there may call this. Returns the removed paths.
    """
    removed = []
    for path in sorted(directory.glob(f"{REPLACED}*")):
        original = directory / path.name.removeprefix(REPLACED).rsplit("-", 1)[0]
        if not original.exists():
            os.rename(path, original)  # noqa: PTH104 - os is shimmed in tests
    for prefix in (TEMPORARY, REPLACED):
        for path in sorted(directory.glob(f"{prefix}*")):
            _remove(path)
            removed.append(path)
    return removed


def sweep_beside(path: Path) -> None:
    """Removes temporaries of `path` that a killed process left; those being written stay."""
    for leftover in path.parent.glob(f"{TEMPORARY}{_literal(path.name)}-" + "[0-9a-f]" * 8):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if try_lock(descriptor):
                    _remove(leftover)
            finally:
                os.close(descriptor)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    """Makes a file's bytes, or a folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_name(path: Path) -> Path:
    """A name for what will be `path` once it is finished."""
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
