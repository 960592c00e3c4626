"""Turns what is left of a damaged, unfinished or old replay into one that every reader accepts.

The event stream is walked with the file's own payload table as far as it makes sense, grouped into
frames and written anew: frame starts and bookends where they are missing, pre before post, unknown
events dropped, one Game End, payloads padded with zeros to the 3.16 layout (3.18 where the file has
stage events) with the version number to match. Frames that are not whole are left out; what follows
them is kept as long as the holes stay as small as `exphil_tf.replays.rows` fills them. Apart from
such holes a file so repaired is a prefix of the original game, bit for bit in every field it had.
Hitlag, which payloads before 3.8 lack, is derived from their state flags (`absent.hitlag_left`).
peppi-py 0.8.6 needs the rewriting for each file before 3.7, for Game End methods it does not know
and for unfinished recordings; libmelee for unknown events. The original header (`slp.read_header`)
stays the source of the game's description: only frames are to be taken from the repaired bytes.

Where the recording stops without a Game End, frames that the netcode had not confirmed are left
out: they were simulated with guessed inputs, and no later version corrects them any more.

Resuming after bytes that are no event was dropped: nothing says which bytes to trust.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exphil_tf.replays import absent, events, slp
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.rows import MAX_HOLE_FRAMES, sound_prefix

_LAYOUT_3_16 = bytes([3, 16, 0, 0])
_LAYOUT_3_18 = bytes([3, 18, 0, 0])
_OWNER_BYTE = 42
"""Position of an item's owner (3.6 and later); -1 means nobody, so it cannot be padded with
zero."""
_FINALIZED = slice(5, 9)
_HITLAG = slice(0x49, 0x4D)
_HITLAG_FLAG, _IN_HITLAG = 0x27, 0x20
"""Byte of the post-frame (2.0 and later) and bit in it."""
_PEPPI_END_METHODS = (0, 1, 2, 3, 7)
_HEADER_KEPT = 0x141
"""Game Start bytes before the UCF settings. What follows (names, language, match) is not needed for
frames, and damage there makes peppi refuse the file, so it is written as zeros."""
_LANGUAGE_BYTE = 0x2BD
_MAX_EVENTS = 5_000_000


class Repair(NamedTuple):
    """A repaired file.

    Attributes:
      data: the new file's bytes.
      note: what was done, for the log, such as `kept 812 frames; dropped 1,204 bytes; no game end`.
      num_rows: frames kept, every rollback version counted.
    """

    data: bytes
    note: str
    num_rows: int


class _Events(NamedTuple):
    """Events of one kind as found: `records` uint8 `[events, size]`, `row` int64 `[events]`."""

    code: int
    records: np.ndarray
    row: np.ndarray

    def frame(self) -> np.ndarray:
        """Frame ids, int32 `[events]`."""
        return self.records[:, 1:5].copy().view(">i4")[:, 0].astype(np.int32)


def repair(data: bytes) -> Repair:
    """The longest sound prefix of a replay, rewritten.

    Args:
      data: a whole `.slp` file, however damaged after its payload table and Game Start event.

    Raises:
      ReplayError: no_frames if not one whole frame is left; bad_magic, bad_header, nesting… as
        `slp.scan`.
    """
    found = slp.scan(data)
    codes, offsets, stop = _walk(data, found)
    if not len(codes) or codes[0] != events.GAME_START:
        raise ReplayError(Reason.BAD_HEADER, "no whole Game Start event after the payload table")
    kinds = _gather(data, found, codes=codes, offsets=offsets) if events.PRE in codes else {}
    if events.PRE not in kinds or events.POST not in kinds:
        raise ReplayError(Reason.NO_FRAMES, "no frame was recorded")
    kept = _kept_rows(kinds, _expected_ports(data, found), ended=events.GAME_END in codes)
    num_rows = len(kept)
    if not num_rows:
        raise ReplayError(Reason.NO_FRAMES, "not one whole frame")
    missing = int(kept[-1]) + 1 - num_rows
    ends = offsets[codes == events.GAME_END]
    end = data[ends[0] : ends[0] + found.sizes[events.GAME_END]] if len(ends) else b""
    rewritten = _rewrite(
        data[found.start : found.start + found.sizes[events.GAME_START]],
        {code: _pick(kind, kept) for code, kind in kinds.items()},
        end=end,
    )
    note = [f"kept {num_rows} frames"]
    if missing:
        note.append(f"left out {missing} that are not whole")
    if stop < found.stop:
        note.append(f"dropped {found.stop - stop} bytes")
    if not end:
        note.append("no game end")
    return Repair(rewritten, "; ".join(note), num_rows)


def _walk(data: bytes, found: slp.Container) -> tuple[np.ndarray, np.ndarray, int]:
    """Codes uint8 and offsets int64 of the events up to damage, and the position of the damage.

    A plain loop, about 7M events/s: a fourth of the repair's time.
    """
    offsets: list[int] = []
    position, stop = found.start, found.stop
    sizes = [found.sizes.get(code, 0) for code in range(256)]
    for _ in range(_MAX_EVENTS):
        size = sizes[data[position]] if position < stop else 0
        if not size or position + size > stop:
            break
        offsets.append(position)
        position += size
    where = np.asarray(offsets, np.int64)
    codes = np.frombuffer(data, np.uint8)[where]
    restart = np.flatnonzero(codes[1:] == events.GAME_START)
    if len(restart):  # a second game in the stream: damage
        position = int(where[restart[0] + 1])
        codes, where = codes[: restart[0] + 1], where[: restart[0] + 1]
    return codes, where, position


def _gather(
    data: bytes, found: slp.Container, *, codes: np.ndarray, offsets: np.ndarray
) -> dict[int, _Events]:
    """Frame events by kind, each with the rank of the frame that it lies in.

    A frame begins at its Frame Start; in streams without them, at each pre-frame event of the
    lowest port's leader.
    """
    view = np.frombuffer(data, np.uint8)
    if events.FRAME_START in codes:
        begins = codes == events.FRAME_START
    else:
        pre = codes == events.PRE
        begins = np.zeros(len(codes), bool)
        marks = offsets[pre, None] + np.array([5, 6])
        port = view[marks[:, 0]].astype(np.int64) * 2 + view[marks[:, 1]]
        begins[pre] = port == port[0]
    row = np.cumsum(begins) - 1
    kinds: dict[int, _Events] = {}
    for code in events.FRAME_EVENTS:
        chosen = (codes == code) & (row >= 0)
        if chosen.any():
            windows = np.lib.stride_tricks.sliding_window_view(view, found.sizes[code])
            records = windows[offsets[chosen]]
            kinds[code] = _Events(code, records, row[chosen])
    return kinds


def _expected_ports(data: bytes, found: slp.Container) -> list[int]:
    return [player.port - 1 for player in slp.read_header(data, found).players]


def _kept_rows(kinds: dict[int, _Events], ports: list[int], *, ended: bool) -> np.ndarray:
    """Ranks of the frames to keep, int64 ascending."""
    sound, frame = _sound_rows(kinds, ports, ended=ended)
    confirmed = _confirmed(kinds, frame)
    kept = np.flatnonzero(sound)
    kept = kept[_in_sequence(frame[kept])]
    count = sound_prefix(frame[kept])
    ended, kept = ended and count == len(kept), kept[:count]
    if ended or not count:
        return kept
    last = frame[kept[-1]]
    latest = confirmed[kept].max()
    if latest >= last - MAX_HOLE_FRAMES:  # else the field is not what it should be
        last = min(last, latest)
    return kept[frame[kept] <= last]


def _sound_rows(
    kinds: dict[int, _Events], ports: list[int], *, ended: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Whether everything in a frame fits together, bool `[frames]`, and its id, int64."""
    pre, post = kinds[events.PRE], kinds[events.POST]
    total = int(max(kind.row[-1] for kind in kinds.values())) + 1
    frame = np.full(total, np.iinfo(np.int64).min)
    frame[pre.row[::-1]] = pre.frame()[::-1]
    sound = frame > np.iinfo(np.int32).min
    for kind in kinds.values():
        np.logical_and.at(sound, kind.row, kind.frame() == frame[kind.row])
    pre_seen, post_seen = _presence(pre, total), _presence(post, total)
    sound &= (pre_seen == post_seen).all(axis=1) & (pre_seen <= 1).all(axis=1)
    leaders = np.zeros(8, bool)
    leaders[[port * 2 for port in ports]] = True
    if len(ports) == 2:  # in larger games a beaten player leaves the stream
        sound &= (pre_seen[:, leaders] == 1).all(axis=1)
    allowed = leaders | np.roll(leaders, 1)
    sound &= ~pre_seen[:, ~allowed].any(axis=1)
    for code in (events.FRAME_START, events.FRAME_END):
        if code in kinds:
            sound &= np.bincount(kinds[code].row, minlength=total) == 1
    if events.FRAME_END not in kinds and not ended:
        sound[-1] = False  # nothing tells whether the last frame is whole
    return sound, frame


def _confirmed(kinds: dict[int, _Events], frame: np.ndarray) -> np.ndarray:
    """int64 `[frames]`: the latest frame that the netcode had confirmed, where bookends tell."""
    latest = np.full(len(frame), np.iinfo(np.int64).min)
    ends = kinds.get(events.FRAME_END)
    if ends is not None and ends.records.shape[1] >= _FINALIZED.stop:
        told = ends.records[:, _FINALIZED].copy().view(">i4")[:, 0].astype(np.int64)
        told[told > frame[ends.row]] = np.iinfo(np.int64).min  # nobody confirms what is to come
        latest[ends.row] = told
    return latest


def _in_sequence(frame: np.ndarray) -> np.ndarray:
    """Whether each frame id is near those before it, bool `[frames]`.

    Rollbacks and holes are short. What is farther off is a damaged number, or would leave a hole
    too long to go on after.
    """
    result = np.ones(len(frame), bool)
    highest = int(frame[0]) if len(frame) else 0
    for row, now in enumerate(frame.tolist()):
        result[row] = highest - MAX_HOLE_FRAMES <= now <= highest + 1 + MAX_HOLE_FRAMES
        highest = max(highest, now) if result[row] else highest
    return result


def _pick(kind: _Events, kept: np.ndarray) -> _Events:
    """The events of the frames that are kept, which are numbered anew."""
    rank = np.searchsorted(kept, kind.row)
    there = kept[np.minimum(rank, len(kept) - 1)] == kind.row
    return _Events(kind.code, kind.records[there], rank[there])


def _presence(kind: _Events, total: int) -> np.ndarray:
    """int64 `[frames, 8]`: events per (port, leader or follower); any other spoils its frame."""
    seat = kind.records[:, 5].astype(np.int64) * 2 + kind.records[:, 6]
    odd = (kind.records[:, 5] > 3) | (kind.records[:, 6] > 1)  # ports are 0 to 3
    seat[odd] = 0  # a second event on one seat spoils the frame
    counts = np.bincount(kind.row * 8 + seat, minlength=total * 8).reshape(total, 8)
    np.add.at(counts[:, 0], kind.row[odd], 2)
    return counts


def _rewrite(start: bytes, kinds: dict[int, _Events], *, end: bytes) -> bytes:
    dynamic = any(code in kinds for code in (events.FOD_PLATFORM, events.WHISPY, events.STADIUM))
    sizes = events.SIZES_3_18 if dynamic else events.SIZES_3_16
    blocks = [
        events.Block(_resize(kind, sizes[kind.code] + 1), kind.row, events.RANKS[kind.code])
        for kind in kinds.values()
        if kind.code in sizes
    ]
    pre = kinds[events.PRE]
    frame = np.zeros(int(pre.row[-1]) + 1, np.int32)
    frame[pre.row] = pre.frame()
    for code, dtype in (
        (events.FRAME_START, events.FRAME_START_DTYPE),
        (events.FRAME_END, events.FRAME_END_DTYPE),
    ):
        if code not in kinds:
            blocks.append(_marks(code, dtype, frame))
    stream = events.assemble(blocks).tobytes()
    header = _header(start, _LAYOUT_3_18 if dynamic else _LAYOUT_3_16)
    raw = b"".join([events.payload_table(sizes), header, stream, _game_end(end)])
    return events.container(raw, b"{}")


def _resize(kind: _Events, size: int) -> np.ndarray:
    """Records cut or zero-padded to `size` bytes; what zero would not mean absent is set."""
    count, have = kind.records.shape
    if have >= size:
        return kind.records[:, :size]
    records = np.zeros((count, size), np.uint8)
    records[:, :have] = kind.records
    if kind.code == events.ITEM and have <= _OWNER_BYTE:
        records[:, _OWNER_BYTE] = 0xFF
    if kind.code == events.POST and _HITLAG_FLAG < have < _HITLAG.stop:
        records[:, _HITLAG] = _hitlag(kind).astype(">f4").view(np.uint8).reshape(count, 4)
    return records


def _hitlag(post: _Events) -> np.ndarray:
    """float32 `[events]`: frames of hitlag left, from the state flags."""
    frame, flag = post.frame(), post.records[:, _HITLAG_FLAG] & _IN_HITLAG != 0
    left = np.zeros(len(frame), np.float32)
    seat = post.records[:, 5].astype(np.int64) * 2 + post.records[:, 6]
    for one in np.unique(seat):
        mine = seat == one
        left[mine] = absent.hitlag_left(frame[mine], flag[mine])
    return left


def _marks(code: int, dtype: np.dtype, frame: np.ndarray) -> events.Block:
    records = np.zeros(len(frame), dtype)
    records["command"], records["frame"] = code, frame
    if code == events.FRAME_END:
        records["finalized"] = frame
    return events.Block(
        events.as_bytes(records, dtype.itemsize), np.arange(len(frame)), events.RANKS[code]
    )


def _header(start: bytes, version: bytes) -> bytes:
    """Game Start of 3.16 size: the game's settings and players, without what frames do not need."""
    header = bytearray(events.SIZES_3_16[events.GAME_START] + 1)
    kept = min(len(start), _HEADER_KEPT)
    header[:kept] = start[:kept]
    header[1:5] = version
    header[_LANGUAGE_BYTE] = 1
    return bytes(header)


def _game_end(end: bytes) -> bytes:
    """Game End of 3.16 size; a missing one, or a method unknown to peppi, becomes "unresolved"."""
    known = len(end) > 1 and end[1] in _PEPPI_END_METHODS
    return bytes([events.GAME_END, end[1] if known else 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
