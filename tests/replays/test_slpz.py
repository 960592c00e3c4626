"""slpz files give back the replay byte for byte; damage has a reason."""

import random
import struct
from pathlib import Path

import pytest
import zstandard
from replay_games import make_game

from exphil_tf.melee.enums import Character
from exphil_tf.replays import decompression, events, slp, sources
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.writer import write_slp


def pack(data: bytes) -> bytes:
    """The format as its readme describes it, event by event and byte by byte."""
    container = slp.scan(data)
    declared = int.from_bytes(data[events.RAW_START - 4 : events.RAW_START], "big")
    end = events.RAW_START + declared
    table = data[events.RAW_START : container.start]
    first = container.start + container.sizes[events.GAME_START]
    order, payloads, at = [], {}, first
    while at < end:
        command, size = data[at], container.sizes[data[at]]
        order.append(command)
        payloads.setdefault(command, []).append(data[at + 1 : at + size])
        at += size
    columns = bytearray(len(order).to_bytes(4, "big") + bytes(order))
    for command in sorted(payloads):
        for values in zip(*payloads[command], strict=True):
            columns += bytes(values)
    parts = [table, data[container.start : first], data[end:], zstandard.compress(bytes(columns))]
    offsets = [24 + sum(map(len, parts[:i])) for i in range(4)]
    return struct.pack(">6I", 0, *offsets, len(columns)) + b"".join(parts)


METADATA = b"U\x08metadata{U\x01aSU\xff" + b"x" * 255 + b"}}"


@pytest.fixture(scope="module")
def replay() -> bytes:
    return write_slp(make_game(3, length=200, picked=(Character.POPO, Character.MARTH)))


def test_unpacks_to_the_very_bytes(replay: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.slpz").write_bytes(pack(replay))
    (source,) = sources.find([tmp_path]).sources
    assert sources.read_bytes(source) == replay
    assert len(pack(replay)) < len(replay) / 2


def test_a_single_event_and_none(replay: bytes) -> None:
    """Few events of many bytes are the other way round of the loop."""
    container = slp.scan(replay)
    first = container.start + container.sizes[events.GAME_START]
    for size in (0, container.sizes[replay[first]]):
        raw = replay[events.RAW_START : first + size]
        short = events.MAGIC + len(raw).to_bytes(4, "big") + raw + METADATA
        assert decompression.unwrap(pack(short), "slpz") == short


def test_real_replays_unpack_to_the_very_bytes(real_replays: list[Path]) -> None:
    count = 0
    for source in sources.find(real_replays).sources:
        try:
            data = sources.read_bytes(source)
            packed = pack(data)
        except (ReplayError, KeyError, IndexError):
            continue  # not whole: the packer refuses such files too
        if int.from_bytes(data[11:15], "big"):
            count += 1
            assert decompression.unwrap(packed, "slpz") == data
    assert count > len(real_replays) / 2


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, 1, Reason.BAD_ARCHIVE),
        (4, 23, Reason.BAD_ARCHIVE),
        (8, 1 << 31, Reason.BAD_ARCHIVE),
        (16, 0xFFFFFFFF, Reason.BAD_ARCHIVE),
        (20, 5, Reason.ZIP_BOMB),  # more comes out than is declared
        (20, 0xFFFFFFFF, Reason.ZIP_BOMB),
        (20, 1 << 25, Reason.BAD_ARCHIVE),
    ],
)
def test_false_claims_have_a_reason(replay: bytes, at: int, value: int, reason: Reason) -> None:
    data = bytearray(pack(replay))
    struct.pack_into(">I", data, at, value)
    with pytest.raises(ReplayError) as error:
        decompression.unwrap(bytes(data), "slpz")
    assert error.value.reason is reason


def test_random_damage_raises_nothing_else(replay: bytes) -> None:
    packed, rng = pack(replay), random.Random(3)
    columns_at = int.from_bytes(packed[16:20], "big")
    columns = zstandard.decompress(packed[columns_at:])
    for index in range(400):
        data = bytearray(packed)
        if index % 2:  # inside the packed events, which a checksum would otherwise protect
            inner = bytearray(columns)
            inner[rng.randrange(4 if index % 4 == 1 else len(inner))] = rng.randrange(256)
            data[columns_at:] = zstandard.compress(bytes(inner))
        else:
            for _ in range(rng.randrange(1, 5)):
                data[rng.randrange(len(data) if index % 4 else 200)] = rng.randrange(256)
        try:
            decompression.unwrap(bytes(data), "slpz")
        except ReplayError as error:
            assert error.reason in (Reason.BAD_ARCHIVE, Reason.ZIP_BOMB)
