import errno
import hashlib
import os
from pathlib import Path

import pytest

from exphil_tf.foundation.atomic import write_file
from exphil_tf.records import shards
from exphil_tf.records.shards import (
    CorruptShard,
    ShardName,
    frame,
    read_records,
)

RECORDS = [b"", b"one", b"x" * 1000, bytes(range(256)) * 9]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "train-original-00000-of-00001.tfrecord"
    write_file(path, map(frame, RECORDS))
    return path


def test_framing_is_tensorflows(shard: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert shard.read_bytes() == (tmp_path / "theirs").read_bytes()
    assert list(read_records(tmp_path / "theirs")) == RECORDS


def test_reports_what_it_wrote(tmp_path: Path) -> None:
    written = write_file(tmp_path / "a", [b"one", b"", b"two"])
    assert written == ("a", hashlib.sha256(b"onetwo").hexdigest(), 6)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_every_flipped_bit_is_found(shard: Path) -> None:
    data = shard.read_bytes()
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        shard.write_bytes(damaged)
        with pytest.raises(CorruptShard):
            list(read_records(shard))


def test_cuts_inside_a_record_are_found_and_at_its_border_not(shard: Path) -> None:
    data = shard.read_bytes()
    borders = [0]
    for record in RECORDS:
        borders.append(borders[-1] + len(record) + 16)
    for size in range(0, len(data), 11):
        if size not in borders:
            shard.write_bytes(data[:size])
            with pytest.raises(CorruptShard):
                list(read_records(shard))
    for count, size in enumerate(borders):  # hence the counts and checksums of the manifest
        shard.write_bytes(data[:size])
        assert list(read_records(shard)) == RECORDS[:count]


def test_hostile_length_is_refused(shard: Path) -> None:
    head = (1 << 40).to_bytes(8, "little")
    shard.write_bytes(head + shards._masked_crc(head).to_bytes(4, "little") + b"x" * 100)
    with pytest.raises(CorruptShard, match="damaged length"):
        list(read_records(shard))


def failing(function, at: int, calls: list[int]):
    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("at", range(1, 5))
def test_failure_at_any_system_call_leaves_the_old_file(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_file(path, [b"old"])
    calls: list[int] = []
    for name in ("fsync", "replace", "open"):
        monkeypatch.setattr(os, name, failing(getattr(os, name), at, calls))

    def parts():
        calls.append(1)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        yield b"new"

    with pytest.raises(OSError, match="No space left"):
        write_file(path, parts())
    monkeypatch.undo()
    # Once renamed (the folder's own sync failed) it is the new one, and whole in any case.
    assert path.read_bytes() in (b"old", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_names_round_trip() -> None:
    name = ShardName("validation", "noisy_2", 3, 12)
    assert name.path == "validation-noisy_2-00003-of-00012.tfrecord"
    assert ShardName.parse(name.path) == name
    for bad in ("train-original-1-of-2.tfrecord", "dev-original-00000-of-00001.tfrecord", "x"):
        with pytest.raises(ValueError, match="want split-variant"):
            ShardName.parse(bad)
