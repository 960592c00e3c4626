import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import make_frames

from exphil_tf.features import packing
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.records import example
from exphil_tf.records.example import (
    ChunkMeta,
    decode_chunk,
    decode_header,
    decode_planes,
    encode_chunks,
    encode_variants,
    join_rows,
    read_example,
    write_example,
)

META = ChunkMeta(b"0123456789abcdef", 0b10, (3, 0), (1, 22), stage=31)


def planes_of(num_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (ROW_BYTES, num_frames)).astype(np.uint8)


@given(
    num_frames=st.integers(1, 200),
    chunk_frames=st.integers(1, 64),
    overlap_frames=st.integers(0, 40),
)
@settings(max_examples=40, deadline=None)
def test_chunks_hold_every_row(num_frames: int, chunk_frames: int, overlap_frames: int) -> None:
    planes = planes_of(num_frames)
    records = encode_chunks(planes, META, chunk_frames=chunk_frames, overlap_frames=overlap_frames)
    chunks = [decode_chunk(record) for record in records]
    assert len(chunks) == -(-num_frames // chunk_frames)
    rows = planes.T
    for index, chunk in enumerate(chunks):
        assert chunk.meta == META
        assert chunk.start == index * chunk_frames
        stop = min(chunk.start + chunk_frames + overlap_frames, num_frames)
        np.testing.assert_array_equal(chunk.rows, rows[chunk.start : stop])
        assert chunk.last == (stop == num_frames)
    np.testing.assert_array_equal(join_rows(chunks[::-1]), rows)


def test_padding_is_zero_and_width_is_fixed() -> None:
    (record,) = encode_chunks(planes_of(10), META, chunk_frames=32, overlap_frames=8)
    planes = decode_planes(decode_header(record).blob)
    assert planes.shape == (ROW_BYTES, 40)
    assert not planes[:, 10:].any()


def test_same_planes_same_bytes() -> None:
    planes = planes_of(500, seed=1)
    first = encode_chunks(planes, META)
    encode_chunks(planes_of(100), META)  # the compressor is reused and keeps nothing
    assert encode_chunks(np.asfortranarray(planes), META) == first


def test_variants_are_what_they_say() -> None:
    planes = packing.pack_planes(make_frames(seed=0, num_frames=300, extremes=0.1, on_grid=True))
    rng = np.random.default_rng(5)
    variants = {
        "original": None,
        "mirrored": packing.mirror(planes),
        "noisy_1": packing.noise(planes, 0.1, rng),
    }
    records = encode_variants(planes, variants, META, chunk_frames=64, overlap_frames=16)
    want = {
        "original": planes,
        "mirrored": packing.mirror_planes(planes),
        "noisy_1": packing.noisy_planes(planes, 0.1, np.random.default_rng(5)),
    }
    for name, some in records.items():
        rows = join_rows([decode_chunk(record) for record in some])
        np.testing.assert_array_equal(rows, want[name].T, err_msg=name)
    assert records["original"] == encode_chunks(planes, META, chunk_frames=64, overlap_frames=16)


def test_tensorflow_reads_our_records() -> None:
    import tensorflow as tf

    planes = planes_of(150)
    records = encode_chunks(planes, META, chunk_frames=64, overlap_frames=16)
    spec = {
        "x": tf.io.FixedLenFeature([], tf.string),
        "key": tf.io.FixedLenFeature([], tf.string),
        **{
            name: tf.io.FixedLenFeature([], tf.int64)
            for name in ("n", "start", "last", "perspectives", "stage")
        },
        "player_ids": tf.io.FixedLenFeature([2], tf.int64),
        "characters": tf.io.FixedLenFeature([2], tf.int64),
    }
    batch = tf.io.parse_example(tf.constant(records), spec)
    raw = tf.io.decode_raw(tf.io.decode_compressed(batch["x"], "ZSTD"), tf.uint8)
    decoded = tf.reshape(raw, [len(records), ROW_BYTES, 80]).numpy()
    for index, record in enumerate(records):
        np.testing.assert_array_equal(
            decoded[index], decode_planes(decode_header(record).blob), err_msg=str(index)
        )
    assert batch["n"].numpy().tolist() == [80, 80, 22]
    assert batch["start"].numpy().tolist() == [0, 64, 128]
    assert batch["last"].numpy().tolist() == [0, 0, 1]
    assert batch["key"].numpy().tolist() == [META.key] * 3
    assert batch["player_ids"].numpy().tolist() == [[3, 0]] * 3
    assert batch["characters"].numpy().tolist() == [[1, 22]] * 3
    assert batch["perspectives"].numpy().tolist() == [2] * 3


FEATURES = st.dictionaries(
    st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8),
    st.one_of(
        st.binary(max_size=300),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


@given(FEATURES)
@settings(max_examples=60, deadline=None)
def test_wire_format_is_tensorflows(features: dict[str, bytes | tuple[int, ...]]) -> None:
    import tensorflow as tf

    message = tf.train.Example()
    for name, value in features.items():
        if isinstance(value, bytes):
            message.features.feature[name].bytes_list.value.append(value)
        else:
            message.features.feature[name].int64_list.value.extend(value)
            message.features.feature[name].int64_list.SetInParent()
    assert tf.train.Example.FromString(write_example(features)) == message
    assert read_example(message.SerializeToString()) == features
    assert read_example(write_example(features)) == features


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_garbage_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_chunk(data)


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_damaged_records_decode_or_are_value_errors(position: int, byte: int) -> None:
    (record,) = encode_chunks(np.zeros((ROW_BYTES, 5), np.uint8), META, chunk_frames=16)
    damaged = bytearray(record)
    damaged[position % len(record)] = byte
    with contextlib.suppress(ValueError):
        decode_chunk(bytes(damaged))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="planes: want uint8"):
        encode_chunks(np.zeros((3, 10), np.uint8), META)
    with pytest.raises(ValueError, match="planes: want uint8"):
        encode_chunks(np.zeros((ROW_BYTES, 10), np.float32), META)
    with pytest.raises(ValueError, match="at least 1 frame"):
        encode_chunks(planes_of(5), META, chunk_frames=0)
    chunks = [
        decode_chunk(record)
        for record in encode_chunks(planes_of(100), META, chunk_frames=32, overlap_frames=0)
    ]
    for missing in (chunks[1:], chunks[:-1], [], [chunks[0], *chunks[2:]]):
        with pytest.raises(ValueError, match="chunks:"):
            join_rows(missing)


def test_no_tensorflow_in_workers() -> None:
    import subprocess
    import sys

    code = (
        "import exphil_tf.preprocessing.game_records, exphil_tf.preprocessing.inspection, sys;"
        "bad = {'tensorflow', 'keras', 'apache_beam'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_chunk_sizes_are_those_documented() -> None:
    assert (example.CHUNK_FRAMES, example.OVERLAP_FRAMES, example.ZSTD_LEVEL) == (1024, 128, 1)
