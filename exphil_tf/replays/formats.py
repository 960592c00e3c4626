"""What a file's name says it is: a replay, a replay packed by itself, or an archive of replays.

Names decide only how to open something; what it holds decides the rest. A name of no kind cannot
hold replays as far as anybody can tell, and is passed over.
"""

from __future__ import annotations

import enum
import re

PACKINGS = ("slpz", "gz", "xz", "bz2", "zst", "lzma")
"""Suffixes of replays that are packed one by one, and are read."""

_TARS = {
    ".tar": "",
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".taz": "gz",
    ".tar.xz": "xz",
    ".txz": "xz",
    ".tar.bz2": "bz2",
    ".tbz": "bz2",
    ".tbz2": "bz2",
    ".tb2": "bz2",
    ".tar.zst": "zst",
    ".tzst": "zst",
    ".tar.lzma": "lzma",
    ".tlz": "lzma",
}
_ZIPS = (".zip", ".zipx")
# `.zlp` is slippc's own packing.
_OTHERS = (
    *(".7z", ".rar", ".zlp", ".lz", ".lz4", ".lzo", ".br", ".z", ".cab", ".arj", ".lzh", ".lha"),
    *(".ace", ".zpaq", ".sit", ".sitx"),
)
_PART = re.compile(r"\.(?:(?:7z|zip|zipx|rar|tar|tgz|gz|xz|bz2|zst)\.\d{2,4}|[zr]\d\d)$")


class Kind(enum.Enum):
    """What a name promises."""

    REPLAY = "a replay"
    PACKED = "one replay, packed"
    ZIP = "a zip"
    TAR = "a tar, packed or not"
    OTHER = "something packed that is not read"


def kind_of(name: str) -> Kind | None:
    """The kind of a file or archive member; None for names that promise no replay."""
    lower = name.lower()
    if lower.endswith(".slp"):
        return Kind.REPLAY
    if lower.endswith(tuple(_TARS)):
        return Kind.TAR
    if lower.endswith(_ZIPS):
        return Kind.ZIP
    if lower.endswith(tuple(f".{packing}" for packing in PACKINGS)):
        return Kind.PACKED
    return Kind.OTHER if lower.endswith(_OTHERS) or _PART.search(lower) else None


def packing_of(name: str) -> str:
    """How a single replay, or a tar, is packed: one of `PACKINGS`, or empty."""
    lower = name.lower()
    for suffix, packing in _TARS.items():
        if lower.endswith(suffix):
            return packing
    return next((packing for packing in PACKINGS if lower.endswith(f".{packing}")), "")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over: what systems leave behind."""
    return name.startswith(".") or name == "__MACOSX"


def is_hidden_member(name: str) -> bool:
    """The same of a path inside an archive; `.` and `..` hide nothing."""
    parts = name.replace("\\", "/").split("/")
    return any(is_hidden(part) for part in parts if part not in (".", ".."))


def refusal(name: str) -> str:
    """Why a file of kind `OTHER` is not read, and what to do about it."""
    lower = name.lower()
    if _PART.search(lower):
        return "a part of a split archive: join the parts first"
    suffix = lower[lower.rfind(".") :]
    return f"{suffix} is not read: unpack it, or repack it as zip"
