"""A replay held before a mirror, on the bytes of its events: nothing of our schema or packing.

Offsets are those of the Slippi specification, from the command byte on.
"""

import struct

import numpy as np

PRE, POST, ITEM, FOUNTAIN, WHISPY = 0x37, 0x38, 0x3B, 0x3F, 0x40
FLOATS = {
    PRE: (0x0D, 0x15, 0x19, 0x21),  # x, facing, main stick x, C-stick x
    POST: (0x0A, 0x12, 0x35, 0x3D, 0x45),  # x, facing, speeds: air, attack, ground
    ITEM: (0x08, 0x0C, 0x14),  # facing, speed x, x
}

COMMON = {1: 2, 264: 265}
"""Dead at the left or right; taunt facing right or left."""
PUFF = {346: 347, 352: 353, 354: 355, 360: 361, 365: 367, 366: 368, 369: 371, 370: 372}
SPACE = {370: 371, 372: 373, 374: 375}
KIRBY = {475: 476, 481: 482, 483: 484, 489: 490}
OWN = {15: PUFF, 1: SPACE, 22: SPACE, 4: KIRBY}
"""Internal character id → its own pairs."""


def other_side(action: np.ndarray, character: np.ndarray) -> np.ndarray:
    """Action ids in a mirror."""
    result = action.copy()
    for one, other in COMMON.items():
        result[action == one], result[action == other] = other, one
    for who, pairs in OWN.items():
        for one, other in pairs.items():
            result[(character == who) & (action == one)] = other
            result[(character == who) & (action == other)] = one
    return result


def mirror_slp(data: bytes) -> bytes:
    """The file of the mirrored game (positions, speeds, sticks, facing, sides, moving stages)."""
    raw = bytearray(data)
    start = data.index(b"U\x03raw[$U#l") + 14
    end = start + struct.unpack_from(">i", data, start - 4)[0]
    end = end if end > start else len(data)  # an unfinished recording
    table = data[start + 2 : start + 1 + data[start + 1]]
    sizes = {table[i]: struct.unpack_from(">H", table, i + 1)[0] for i in range(0, len(table), 3)}
    at = start + 1 + data[start + 1]
    while at < end and raw[at] in sizes:
        _mirror_event(raw, at, sizes[raw[at]] + 1)
        at += sizes[raw[at]] + 1
    return bytes(raw)


def _mirror_event(raw: bytearray, at: int, size: int) -> None:
    code = raw[at]
    for offset in FLOATS.get(code, ()):
        if offset + 4 <= size:
            raw[at + offset] ^= 0x80
    if code == POST:
        character, (action,) = raw[at + 7], struct.unpack_from(">H", raw, at + 8)
        other = other_side(np.array([action]), np.array([character]))[0]
        struct.pack_into(">H", raw, at + 8, int(other))
    elif code == FOUNTAIN:
        raw[at + 5] ^= 1
    elif code == WHISPY:
        raw[at + 5] = (0, 2, 1)[raw[at + 5]]
