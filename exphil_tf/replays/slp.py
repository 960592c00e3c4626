"""What a replay says about itself, read from its bytes alone: cheap checks, container, header.

Nothing here trusts the file: every length is bounded, metadata is read by a depth-limited reader,
and no frame is looked at. It therefore runs before any native parser, and it is all that filters
and a collection scan need.

Links: a replay folder, or a file in it, may be a symbolic link (drives, content-addressed stores),
so links are followed; what counts is the opened descriptor, which must be a regular file. Opening
never blocks on a pipe.

Names come from the Game Start event (3.9 and later), else from the metadata, and are
NFKC-normalised: the game writes `ＡＢＣ＃１` in full width.
"""

from __future__ import annotations

import os
import struct
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from exphil_tf.melee.enums import EXTERNAL_TO_INTERNAL
from exphil_tf.melee.types import GameInfo, PlayerInfo
from exphil_tf.replays import absent, events
from exphil_tf.replays.files import errno_name, open_regular
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.ubjson import NestingError, UbjsonError, read_object

MIN_BYTES = 1 << 10
MAX_BYTES = 64 << 20
UNKNOWN_CHARACTER = 32
"""Internal id given to characters outside the roster (Master Hand, wireframes…)."""

_MAX_PORTS = 4
_OCCUPIED = (0, 1, 2)
"""Player types human, CPU and demo; 3 is an empty port."""
_CPU = 1


def read_bytes(path: Path | str, *, at_least: int = MIN_BYTES) -> bytes:
    """The whole file, if it is a regular one of acceptable size.

    Args:
      path: of the file.
      at_least: bytes that it must have; fewer for one that is packed.

    Raises:
      ReplayError: not_a_file, unreadable, too_small or too_big.
    """
    with open_regular(path) as file:
        try:
            check_size(os.fstat(file.fileno()).st_size, at_least=at_least)
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ReplayError(Reason.UNREADABLE, errno_name(error)) from error
    check_size(len(data), at_least=at_least)
    return data


def check_size(size: int, *, at_least: int = MIN_BYTES) -> None:
    """Raises ReplayError (too_small, too_big) for a size that no replay has."""
    if size < at_least:
        raise ReplayError(Reason.TOO_SMALL, f"{size} bytes, want at least {at_least}")
    if size > MAX_BYTES:
        raise ReplayError(Reason.TOO_BIG, f"{size} bytes, want at most {MAX_BYTES}")


@dataclass(frozen=True)
class Container:
    """Where things lie in a file.

    Attributes:
      sizes: command byte → event size in bytes, command byte included.
      start: position of the first event after the payload table (the Game Start).
      stop: position after the last event byte: the declared end, or the file's end if that is 0 or
        beyond it.
      declared: the container's length field; 0 while a recording is in progress.
      metadata: as read; empty if absent or malformed.
      complete: the metadata was found whole, right after the declared end.
    """

    sizes: dict[int, int]
    start: int
    stop: int
    declared: int
    metadata: dict[str, Any]
    complete: bool


def scan(data: bytes) -> Container:
    """Checks size, magic, payload table and metadata nesting without looking at frames.

    Raises:
      ReplayError: too_small, too_big, bad_magic, nesting or bad_header.
    """
    check_size(len(data))
    if not data.startswith(events.MAGIC):
        raise ReplayError(Reason.BAD_MAGIC, "does not begin as a Slippi container")
    declared = int.from_bytes(data[len(events.MAGIC) : events.RAW_START], "big")
    sizes, start = _payload_table(data)
    end = events.RAW_START + declared
    inside = declared and end <= len(data)
    tail = end if inside else _guess_metadata(data)
    metadata, complete = _metadata(data, tail)
    stop = end if inside else (tail if complete else len(data))
    return Container(sizes, start, stop, declared, metadata, complete and bool(inside))


def _payload_table(data: bytes) -> tuple[dict[int, int], int]:
    start = events.RAW_START
    length = data[start + 1]
    if data[start] != events.PAYLOADS or length < 1 or (length - 1) % 3:
        raise ReplayError(Reason.BAD_HEADER, "the event stream does not begin with a payload table")
    entries = data[start + 2 : start + 1 + length]
    sizes = {
        entries[i]: 1 + int.from_bytes(entries[i + 1 : i + 3], "big")
        for i in range(0, len(entries), 3)
    }
    missing = [code for code in (events.GAME_START, events.PRE, events.POST) if code not in sizes]
    if missing:
        raise ReplayError(
            Reason.BAD_HEADER, f"the payload table lacks events {[hex(code) for code in missing]}"
        )
    for code, size in sizes.items():
        if size < events.LEAST_SIZES.get(code, 0):
            raise ReplayError(
                Reason.BAD_HEADER,
                f"event {code:#x}: want at least {events.LEAST_SIZES[code]} bytes, declared {size}",
            )
    return sizes, start + 1 + length


def _guess_metadata(data: bytes) -> int:
    """Position of the last metadata key, -1 if none; for files whose length field is no help.

    A native reader may stop at an earlier key, so the first one is checked for nesting too.
    """
    key = events.METADATA_KEY + b"{"
    _metadata(data, data.find(key, events.RAW_START))
    return data.rfind(key, events.RAW_START)


def _metadata(data: bytes, position: int) -> tuple[dict[str, Any], bool]:
    """Metadata whose key lies at `position`, and whether it is whole."""
    if position < 0 or not data.startswith(events.METADATA_KEY, position):
        return {}, False
    metadata, end = _read_object(data, position)
    return metadata, end is not None and data[end : end + 1] == b"}"


def _read_object(data: bytes, position: int) -> tuple[dict[str, Any], int | None]:
    try:
        return read_object(data, position + len(events.METADATA_KEY))
    except NestingError as error:
        raise ReplayError(Reason.NESTING, str(error)) from error
    except UbjsonError:
        return {}, None


def read_header(data: bytes, container: Container | None = None) -> GameInfo:
    """Everything the file says about the game apart from its frames.

    Args:
      data: the whole file (a memory map will do), or at least its events up to the Game Start.
      container: `scan(data)`, if already at hand.

    Raises:
      ReplayError: bad_header if the Game Start event is missing or too short, or as `scan`.
    """
    found = container or scan(data)
    size = found.sizes[events.GAME_START]
    block = bytes(data[found.start : found.start + size])
    if len(block) < size or block[0] != events.GAME_START:
        raise ReplayError(Reason.BAD_HEADER, "no whole Game Start event after the payload table")
    method, lras = game_end(data, found)
    match_id = _text(block, 0x2BE, 51) if size > 0x2F8 else ""
    game_index, tiebreak = struct.unpack_from(">II", block, 0x2F1) if size > 0x2F8 else (0, 0)
    info = GameInfo(
        stage=_unpack(">H", block, 0x13),
        players=tuple(_players(block, found.metadata)),
        version=(block[1], block[2], block[3]),
        match_id=match_id,
        game_index=game_index,
        tiebreak=tiebreak,
        seed=_unpack(">I", block, 0x13D),
        start_at=str(found.metadata.get("startAt", "")),
        is_teams=bool(block[0xD]),
        is_pal=_flag(block, 0x1A1),
        is_frozen_ps=_flag(block, 0x1A2),
        timer_s=_unpack(">I", block, 0x15),
        end_method=method,
        lras=lras,
    )
    return replace(info, absent=absent.bits(info, found.sizes))


def _unpack(code: str, block: bytes, offset: int) -> int:
    return struct.unpack_from(code, block, offset)[0]


def _flag(block: bytes, offset: int) -> bool:
    return offset < len(block) and block[offset] != 0


def _text(block: bytes, offset: int, length: int) -> str:
    """NUL-terminated text, NFKC-normalised; empty where the version has no such field.

    It is Shift-JIS with the signs that Windows adds (①, ～, ㈱).
    """
    raw = block[offset : offset + length].split(b"\0")[0]
    return unicodedata.normalize("NFKC", raw.decode("cp932", "ignore"))


def _players(block: bytes, metadata: dict[str, Any]) -> list[PlayerInfo]:
    players: list[PlayerInfo] = []
    for index in range(_MAX_PORTS):
        base = 0x65 + 0x24 * index
        external, kind, stocks, costume = block[base : base + 4]
        if kind not in _OCCUPIED:
            continue
        name, code = (
            _text(block, 0x1A5 + 0x1F * index, 0x1F),
            _text(block, 0x221 + 0xA * index, 0xA),
        )
        names = _names(metadata, index)
        players.append(
            PlayerInfo(
                port=index + 1,
                character=int(EXTERNAL_TO_INTERNAL.get(external, UNKNOWN_CHARACTER)),
                is_cpu=kind == _CPU,
                cpu_level=block[base + 0xF] if kind == _CPU else 0,
                name=name or names.get("netplay", ""),
                code=code or names.get("code", ""),
                tag=_text(block, 0x161 + 0x10 * index, 0x10),
                team=block[base + 9],
                costume=costume,
                stocks=stocks,
            )
        )
    return players


def _names(metadata: dict[str, Any], index: int) -> dict[str, str]:
    node = metadata
    for key in ("players", str(index), "names"):
        inner = node.get(key)
        node = cast(dict[str, Any], inner) if isinstance(inner, dict) else {}
    texts = {key: text for key, text in node.items() if isinstance(text, str)}
    return {key: unicodedata.normalize("NFKC", text) for key, text in texts.items()}


def game_end(data: bytes, container: Container) -> tuple[int | None, int | None]:
    """Game End's method and the 1-based port that quit; None if unknown or not the last event."""
    size = container.sizes.get(events.GAME_END, 0)
    start = container.stop - size
    if (
        not size
        or not container.complete
        or start < container.start
        or data[start] != events.GAME_END
    ):
        return None, None
    quitter = data[start + 2] if size > 2 else 0xFF  # payload of 2: method and quitter
    return data[start + 1], quitter + 1 if quitter < _MAX_PORTS else None
