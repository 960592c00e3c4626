"""A match as Slippi events: a replay goes by, with the pads' controllers in it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from exphil_tf.melee.enums import INTERNAL_TO_EXTERNAL
from exphil_tf.replays import events, slp, ubjson
from fake_dolphin.menus import Match
from fake_dolphin.pads import Pad

_PORT, _FOLLOWER, _CHARACTER, _OWNER = 5, 6, 7, 0x2A
_STAGE_EVENTS = (events.FOD_PLATFORM, events.WHISPY, events.STADIUM)
_KEPT = (*events.RANKS,)


class ReplayMatch:
    """Frames of a replay as those of a match.

    Args:
      path: of a replay of two players.
      match: what the menus say; None keeps the replay's characters and stage.
      ports: the players', ascending, in place of the replay's.
      frames: how many; None for all.
    """

    def __init__(self, path: Path, match: Match | None, ports: list[int], frames: int | None):
        data = path.read_bytes()
        found = slp.scan(data)
        self._sizes, self._match = found.sizes, match
        info = slp.read_header(data, found)
        old = [player.port for player in info.players]
        self._ports = dict(zip((p - 1 for p in old), (p - 1 for p in ports), strict=True))
        self._frames = list(self._split(data, found))[:frames]
        table = data[events.RAW_START : found.start]
        start = bytearray(data[found.start : found.start + found.sizes[events.GAME_START]])
        self._patch_start(start)
        self.raw = [table, bytes(start)]

    is_over = False
    """A replay ends with its last frame."""

    @property
    def opening(self) -> bytes:
        """The payload table and the Game Start event."""
        return b"".join(self.raw[:2])

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int, pads: Mapping[int, Pad]) -> bytes:
        """A frame's events, with the controllers of the ports that have pads."""
        found = []
        for event in self._frames[index]:
            block = bytearray(event)
            if block[0] in (events.PRE, events.POST):
                self._patch_player(block, pads)
            elif block[0] == events.ITEM and len(block) > _OWNER:
                owner = struct.unpack_from(">b", block, _OWNER)[0]
                struct.pack_into(">b", block, _OWNER, self._ports.get(owner, -1))
            found.append(bytes(block))
        joined = b"".join(found)
        self.raw.append(joined)
        return joined

    def end(self) -> bytes:
        """The Game End event."""
        block = bytearray(self._sizes.get(events.GAME_END, 2))
        block[0], block[1] = events.GAME_END, 2
        self.raw.append(bytes(block))
        return bytes(block)

    def file(self) -> bytes:
        """The `.slp` of what was played."""
        metadata = {"startAt": "2000-01-01T00:00:00Z", "playedOn": "dolphin"}
        return events.container(b"".join(self.raw), ubjson.write_object(metadata))

    def _split(self, data: bytes, found: slp.Container) -> Iterator[list[bytes]]:
        position, frame = found.start + found.sizes[events.GAME_START], []
        while position < found.stop and (size := found.sizes.get(data[position])):
            event = data[position : position + size]
            position += size
            is_moving = event[0] in _STAGE_EVENTS and self._match is not None
            if event[0] in _KEPT and not is_moving:
                frame.append(event)
            if event[0] == events.FRAME_END:
                yield frame
                frame = []

    def _patch_start(self, block: bytearray) -> None:
        players = [bytes(block[0x65 + 0x24 * i : 0x65 + 0x24 * (i + 1)]) for i in range(4)]
        empty = bytearray(players[0])
        empty[1] = 3
        for i in range(4):
            block[0x65 + 0x24 * i : 0x65 + 0x24 * (i + 1)] = empty
        for old, new in self._ports.items():
            base = 0x65 + 0x24 * new
            block[base : base + 0x24] = players[old]
            if self._match is None:
                continue
            level = self._match.levels.get(new + 1)
            block[base] = INTERNAL_TO_EXTERNAL[self._match.characters[new + 1]]
            block[base + 1], block[base + 0xF] = int(level is not None), level or 0
        if self._match is not None:
            struct.pack_into(">H", block, 0x13, self._match.stage)

    def _patch_player(self, block: bytearray, pads: Mapping[int, Pad]) -> None:
        new = block[_PORT] = self._ports[block[_PORT]]
        if block[0] == events.POST and self._match is not None and not block[_FOLLOWER]:
            block[_CHARACTER] = self._match.characters[new + 1]
        pad = pads.get(new + 1)
        is_cpu = self._match is not None and new + 1 in self._match.levels
        if block[0] == events.PRE and pad is not None and not is_cpu and not block[_FOLLOWER]:
            _put_pad(block, pad)


def _put_pad(block: bytearray, pad: Pad) -> None:
    (main_x, main_y), (c_x, c_y) = pad.stick("MAIN"), pad.stick("C")
    values = {
        "main_x": main_x, "main_y": main_y, "c_x": c_x, "c_y": c_y, "trigger": pad.trigger(),
        "physical_l": pad.triggers.get("L", 0.0), "physical_r": pad.triggers.get("R", 0.0),
        "buttons": pad.word(), "physical_buttons": pad.word(),
        "raw_x": pad.raw("MAIN")[0], "raw_y": pad.raw("MAIN")[1],
        "raw_c_x": pad.raw("C")[0], "raw_c_y": pad.raw("C")[1],
    }  # fmt: skip
    for name, value in values.items():
        dtype, offset = events.PRE_DTYPE.fields[name][:2]
        if offset + dtype.itemsize <= len(block):
            block[offset : offset + dtype.itemsize] = np.array(value, dtype).tobytes()
