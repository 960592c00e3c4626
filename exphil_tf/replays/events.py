"""The byte layout of Slippi events.

Source: https://github.com/project-slippi/slippi-wiki/blob/master/SPEC.md.

Each event is a command byte followed by a big-endian payload whose size the stream's first event
declares. Newer versions only append to a payload, so one packed numpy dtype per event, cut to the
declared size, reads every version. `assemble` is the one place that turns records into a stream;
the writer and the repair both use it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PAYLOADS, GAME_START, PRE, POST, GAME_END = 0x35, 0x36, 0x37, 0x38, 0x39
FRAME_START, ITEM, FRAME_END = 0x3A, 0x3B, 0x3C
FOD_PLATFORM, WHISPY, STADIUM = 0x3F, 0x40, 0x41

SIZES_3_16 = {
    GAME_START: 760,
    PRE: 64,
    POST: 84,
    GAME_END: 6,
    FRAME_START: 12,
    ITEM: 44,
    FRAME_END: 8,
}
"""Payload bytes after the command byte, as version 3.16.0 declares them."""
SIZES_3_18 = {**SIZES_3_16, PRE: 66, FOD_PLATFORM: 9, WHISPY: 5, STADIUM: 8}
LEAST_SIZES = {
    GAME_START: 0x141, PRE: 59, POST: 34, GAME_END: 2, FRAME_START: 9, ITEM: 38, FRAME_END: 5,
    FOD_PLATFORM: 10, WHISPY: 6, STADIUM: 9,
}  # fmt: skip
"""Bytes, command byte included, of the first version of each event; nothing may be smaller."""
RECORDED: dict[tuple[int, int], tuple[int, int]] = {
    (2, 0): (POST, 52),  # state flags, hitstun, airborne, jumps
    (2, 1): (POST, 53),  # hurtbox
    (3, 0): (ITEM, 38),
    (3, 5): (POST, 73),  # velocities
    (3, 6): (ITEM, 43),  # owner
    (3, 8): (POST, 77),  # hitlag
    (3, 18): (FOD_PLATFORM, 10),
}
"""Version that added columns → the event that holds them and the size that it has since. The
payload table counts, not the version that a file claims: development builds mislabel themselves."""
STATE_AGE_SIZE = 38
"""Bytes of a post-frame that tells how far its action has come (0.2 and later)."""
FRAME_EVENTS = (PRE, POST, FRAME_START, ITEM, FRAME_END, FOD_PLATFORM, WHISPY, STADIUM)
"""Events that carry their frame id as an int32 right after the command byte."""

_HEAD = [("command", "u1"), ("frame", ">i4")]
_PORT = [*_HEAD, ("port", "u1"), ("follower", "u1")]
PRE_DTYPE = np.dtype([
    *_PORT, ("seed", ">u4"), ("action", ">u2"), ("x", ">f4"), ("y", ">f4"), ("facing", ">f4"),
    ("main_x", ">f4"), ("main_y", ">f4"), ("c_x", ">f4"), ("c_y", ">f4"), ("trigger", ">f4"),
    ("buttons", ">u4"), ("physical_buttons", ">u2"), ("physical_l", ">f4"), ("physical_r", ">f4"),
    ("raw_x", "i1"), ("percent", ">f4"), ("raw_y", "i1"), ("raw_c_x", "i1"), ("raw_c_y", "i1"),
])  # fmt: skip
"""Pre-frame update, 3.17 and later; 3.16 lacks the last two bytes."""
POST_DTYPE = np.dtype([
    *_PORT, ("character", "u1"), ("action", ">u2"), ("x", ">f4"), ("y", ">f4"), ("facing", ">f4"),
    ("percent", ">f4"), ("shield", ">f4"), ("last_attack", "u1"), ("combo", "u1"),
    ("last_hit_by", "u1"), ("stocks", "u1"), ("state_age", ">f4"), ("flags", "u1", (5,)),
    ("misc", ">f4"), ("airborne", "u1"), ("ground", ">u2"), ("jumps", "u1"), ("l_cancel", "u1"),
    ("hurtbox", "u1"), ("speed_air_x_self", ">f4"), ("speed_y_self", ">f4"),
    ("speed_x_attack", ">f4"), ("speed_y_attack", ">f4"), ("speed_ground_x_self", ">f4"),
    ("hitlag", ">f4"), ("animation", ">u4"), ("instance_hit_by", ">u2"), ("instance", ">u2"),
])  # fmt: skip
FRAME_START_DTYPE = np.dtype([*_HEAD, ("seed", ">u4"), ("scene_frame", ">u4")])
FRAME_END_DTYPE = np.dtype([*_HEAD, ("finalized", ">i4")])
ITEM_DTYPE = np.dtype([
    *_HEAD, ("type", ">u2"), ("state", "u1"), ("facing", ">f4"), ("speed_x", ">f4"),
    ("speed_y", ">f4"), ("x", ">f4"), ("y", ">f4"), ("damage", ">u2"), ("timer", ">f4"),
    ("id", ">u4"), ("misc", "u1", (4,)), ("owner", "i1"), ("instance", ">u2"),
])  # fmt: skip
FOD_DTYPE = np.dtype([*_HEAD, ("platform", "u1"), ("height", ">f4")])
WHISPY_DTYPE = np.dtype([*_HEAD, ("direction", "u1")])
STADIUM_DTYPE = np.dtype([*_HEAD, ("event", ">u2"), ("type", ">u2")])

RANKS = {
    FRAME_START: 0, FOD_PLATFORM: 1, WHISPY: 1, STADIUM: 1, PRE: 2, ITEM: 3, POST: 4, FRAME_END: 5,
}  # fmt: skip
"""Order of the events inside a frame: libmelee refuses a post-frame before its pre-frame."""

MAGIC = b"{U\x03raw[$U#l"
RAW_START = len(MAGIC) + 4
METADATA_KEY = b"U\x08metadata"


class Block(NamedTuple):
    """Events of one kind.

    Attributes:
      records: uint8 `[events, size]`, command byte included.
      row: int64 `[events]`, which frame of the stream each event belongs to (a rank, not a frame
        id).
      rank: order inside the frame, see `RANKS`.
    """

    records: np.ndarray
    row: np.ndarray
    rank: int


def as_bytes(records: np.ndarray, size: int) -> np.ndarray:
    """Structured records `[events]` as uint8 `[events, size]`: their first `size` bytes."""
    flat = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), -1)
    return flat[:, :size]


def assemble(blocks: list[Block]) -> np.ndarray:
    """One event stream, uint8 `[bytes]`: by frame, then rank, then the order inside each block."""
    key = np.concatenate([block.row * 8 + block.rank for block in blocks])
    sizes = np.concatenate([np.full(len(block.row), block.records.shape[1]) for block in blocks])
    order = np.argsort(key, kind="stable")
    starts = np.empty(len(order), np.int64)
    ends = np.cumsum(sizes[order])
    starts[order] = ends - sizes[order]
    stream = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    first = 0
    for block in blocks:
        count, size = block.records.shape
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(stream, size, writeable=True)
            windows[starts[first : first + count]] = block.records
        first += count
    return stream


def payload_table(sizes: dict[int, int]) -> bytes:
    """The Event Payloads event that declares `sizes`."""
    entries = b"".join(bytes([code]) + size.to_bytes(2, "big") for code, size in sizes.items())
    return bytes([PAYLOADS, len(entries) + 1]) + entries


def container(raw: bytes, metadata: bytes) -> bytes:
    """The `.slp` file around an event stream and a UBJSON object."""
    return b"".join([MAGIC, len(raw).to_bytes(4, "big"), raw, METADATA_KEY, metadata, b"}"])
