"""Seeded ways to spoil a replay, from one bit to a whole layout.

Each keeps the bytes of some client recognisable, so that the damage gets past the first check.
"""

import struct
from collections.abc import Callable, Iterator

import numpy as np

from exphil_tf.replays import events, slp

Random = np.random.Generator


def _truncate(rng: Random, data: bytearray) -> bytes:
    return bytes(data[: rng.integers(0, len(data))])


def _flip_bits(rng: Random, data: bytearray) -> bytes:
    for position in rng.integers(0, len(data), rng.integers(1, 9)):
        data[position] ^= 1 << int(rng.integers(0, 8))
    return bytes(data)


def _flip_head_or_tail(rng: Random, data: bytearray) -> bytes:
    """Container, payload table, Game Start, Game End and metadata."""
    spots = np.concatenate([np.arange(0, 900), np.arange(len(data) - 250, len(data))])
    for position in rng.choice(spots, rng.integers(1, 4)):
        data[position] = int(rng.integers(0, 256))
    return bytes(data)


def _events_of(data: bytes) -> tuple[slp.Container, list[int]]:
    """The container and where each event begins."""
    found = slp.scan(data)
    position, places = found.start, []
    while position < found.stop and data[position] in found.sizes:
        places.append(position)
        position += found.sizes[data[position]]
    return found, places


def _edit_event_header(rng: Random, data: bytearray) -> bytes:
    """Command byte, frame id, port or follower of some event: two thirds of these make peppi-py
    panic."""
    places = _events_of(bytes(data))[1]
    for place in rng.choice(places[1:], rng.integers(1, 3)):
        offset = int(place) + int(rng.integers(0, 7))
        data[offset] = int(
            rng.choice([0, 1, 3, 4, 0x37, 0x38, 0x3A, 0x3C, 0x7F, 0xFF, data[offset] ^ 1])
        )
    return bytes(data)


def _overwrite_block(rng: Random, data: bytearray) -> bytes:
    start = int(rng.integers(0, len(data)))
    length = int(min(len(data) - start, 2 ** rng.integers(0, 13)))
    data[start : start + length] = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    return bytes(data)


def _delete_or_repeat(rng: Random, data: bytearray) -> bytes:
    start, length = int(rng.integers(0, len(data))), int(2 ** rng.integers(0, 12))
    span = data[start : start + length]
    repeated = data[:start] + span * int(rng.integers(2, 4)) + data[start + length :]
    return bytes(data[:start] + data[start + length :] if rng.random() < 0.5 else repeated)


def _lie_about_lengths(rng: Random, data: bytearray) -> bytes:
    if rng.random() < 0.5:
        values = [0, 1, 15, len(data), len(data) * 2, 0x7FFFFFFF, 0xFFFFFFFF]
        data[len(events.MAGIC) : events.RAW_START] = struct.pack(">I", int(rng.choice(values)))
    else:
        entry = events.RAW_START + 2 + 3 * int(rng.integers(0, 7))
        data[entry : entry + 3] = rng.bytes(3)
    return bytes(data)


def _nest(rng: Random, data: bytearray) -> bytes:
    at = data.index(events.METADATA_KEY) + len(events.METADATA_KEY)
    depth = int(10 ** rng.uniform(1, 5.5))
    opening = [b"{U\x01a", b"[", b"{i\x00", b"[$[#i\x01"][int(rng.integers(0, 4))]
    if rng.random() < 0.3:
        data[len(events.MAGIC) : events.RAW_START] = bytes(4)
    return bytes(data[:at]) + b"{U\x01x" + opening * depth


_FLOATS = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40, -0.0, 12345.0)


def _edit_values(rng: Random, data: bytearray) -> bytes:
    """A float or integer inside some pre, post or item events, single frames of them."""
    found, places = _events_of(bytes(data))
    frames = [at for at in places if data[at] in (events.PRE, events.POST, events.ITEM)]
    for at in rng.choice(frames, min(len(frames), int(rng.integers(1, 9)))):
        size = found.sizes[data[at]]
        offset = int(at) + int(rng.integers(7, max(8, size - 4)))
        if rng.random() < 0.5:
            data[offset : offset + 4] = struct.pack(">f", float(rng.choice(_FLOATS)))
        else:
            data[offset] = int(rng.choice([0, 1, 127, 128, 254, 255]))
    return bytes(data)


def _lose_events(rng: Random, data: bytearray) -> bytes:
    """Some events are missing, repeated or exchanged; lengths still agree."""
    found, places = _events_of(bytes(data))
    parts = [bytes(data[at : at + found.sizes[data[at]]]) for at in places]
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(1, len(parts)))
        way = int(rng.integers(0, 3))
        if way == 0:
            del parts[at]
        elif way == 1:
            parts.insert(at, parts[at])
        else:
            other = int(rng.integers(1, len(parts)))
            parts[at], parts[other] = parts[other], parts[at]
    return _rebuilt(data, found, parts)


def _rebuilt(data: bytearray, found: slp.Container, parts: list[bytes]) -> bytes:
    """The file with other events behind its payload table."""
    raw = bytes(data[events.RAW_START : found.start]) + b"".join(parts)
    lengths = len(raw).to_bytes(4, "big")
    return bytes(data[: len(events.MAGIC)]) + lengths + raw + bytes(data[found.stop :])


def _grow_old(rng: Random, data: bytearray) -> bytes:
    """Payloads cut or lengthened, in the table and in every event alike, and another version."""
    found, places = _events_of(bytes(data))
    code = int(rng.choice([c for c in found.sizes if c != events.PAYLOADS]))
    new = int(rng.choice([1, 2, 4, 5, 6, 7, 8, 12, 20, 33, 50, 52, 58, 63, 64, 76, 90, 300]))
    table = bytes(data[events.RAW_START : found.start])
    for entry in range(2, len(table) - 2, 3):
        if table[entry] == code:
            table = table[: entry + 1] + (new).to_bytes(2, "big") + table[entry + 3 :]
    parts = []
    for at in places:
        part = bytes(data[at : at + found.sizes[data[at]]])
        if part[0] == code:
            part = part[: new + 1].ljust(new + 1, b"\0")
        if part[0] == events.GAME_START and len(part) > 4 and rng.random() < 0.5:
            part = part[:1] + bytes([int(rng.integers(0, 4)), int(rng.integers(0, 19))]) + part[3:]
        parts.append(part)
    data[events.RAW_START : found.start] = table
    return _rebuilt(data, found, parts)


def _sound(rng: Random, data: bytearray) -> bytes:
    return bytes(data)


MUTATIONS: list[Callable[[Random, bytearray], bytes]] = [
    _truncate, _flip_bits, _flip_head_or_tail, _edit_event_header, _overwrite_block,
    _delete_or_repeat, _lie_about_lengths, _nest, _edit_values, _lose_events, _grow_old, _sound,
]  # fmt: skip
"""Each takes a generator of its own and a whole replay."""


def mutants(originals: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged files, each mutation of each original in turn."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        data = originals[index // len(MUTATIONS) % len(originals)]
        yield MUTATIONS[index % len(MUTATIONS)](rng, bytearray(data))
