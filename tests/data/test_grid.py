"""Counts of unrolls from lengths of games, against those that the input graph finds in records."""

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.data.epoch_size import epoch_size
from exphil_tf.data.grid import GameLength, Grid, Records, count_unrolls, labelled_span
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.unrolls import find_unrolls
from exphil_tf.records.manifest import load_manifest

CHUNK, OVERLAP = 64, 40
LENGTHS = [1, 63, 64, 65, 85, 86, 104, 105, 127, 128, 129, 200, 333, 1000]


def in_the_graph(grid: Grid, lengths: list[GameLength], phase: int) -> tuple[int, float]:
    """Unrolls and labelled frames of records, game by game, as the input graph sees them."""
    rows = [
        (min(length.frames - start, CHUNK + OVERLAP), start, length.perspectives)
        for length in lengths
        for _ in range(length.games)
        for start in range(0, length.frames, CHUNK)
    ]
    records = Records(*(tf.constant(column, tf.int64) for column in zip(*rows, strict=True)))
    found = find_unrolls(grid, records, tf.constant(phase, tf.int64))
    of = Records(*(tf.gather(feature, found.record) for feature in records))
    frames = 0.0
    for delay in (grid.delay_min, grid.delay_max):
        low, high = labelled_span(grid, of, first=found.first, delay=delay, xp=tf)
        frames += float(np.maximum(high - low, 0).sum()) / 2
    return len(found.first), frames


@pytest.mark.parametrize(
    "options",
    [
        {"window_size": 20},
        {"window_size": 30, "burn_in": 7, "frame_delay": 5},
        {"window_size": 20, "online_robust": True},
        {"window_size": 10, "loss_frames": "last"},
        {"window_size": 60, "burn_in": 10},  # the overlap is too short: chunk by chunk
        {"window_size": 16, "stride": 3, "frame_delay_augment": True, "frame_delay_max": 9},
    ],
)
@pytest.mark.parametrize("epoch", [0, 5])
def test_counts_are_those_of_the_graph(options, epoch, monkeypatch):
    monkeypatch.setattr("exphil_tf.data.grid._SLOTS_AT_ONCE", 64)  # several rounds
    grid = InputConfig(**options).grid(chunk=CHUNK, overlap=OVERLAP, training=True)
    lengths = [GameLength(n % 3 + 1, frames, n % 4) for n, frames in enumerate(LENGTHS, start=2)]
    phase = grid.phase(epoch, 7)
    assert phase == int(grid.phase(tf.constant(epoch, tf.int64), 7))
    unrolls, frames = count_unrolls(grid, lengths, phase)
    expected = in_the_graph(grid, lengths, phase)
    assert unrolls == expected[0] > 20
    assert abs(frames - expected[1]) <= 0.5


def test_counts_of_one_game_by_hand():
    """300 frames, one player: controllers of rows 84 to 299 count, for the states before them."""
    grid = InputConfig(window_size=50).grid(chunk=2048, overlap=64, training=False)
    # States 83 to 298 in unrolls from rows 50, 100, 150, 200 and 250.
    assert count_unrolls(grid, [GameLength(0b10, 300, 1)]) == (5, 216)
    assert count_unrolls(grid, [GameLength(0b11, 300, 3)]) == (30, 1296)
    assert count_unrolls(grid, [GameLength(0b01, 84, 9)]) == (0, 0)
    assert count_unrolls(grid, []) == (0, 0)


def test_an_epoch_is_counted_without_its_shards(games):
    """The manifest is all it takes: nobody says where the shards are."""
    manifest = load_manifest(games.folder)
    config = InputConfig(window_size=20)
    size = epoch_size(manifest, config, split="train", batch_size=16, seed=1, training=False)
    grid = config.grid(chunk=CHUNK, overlap=OVERLAP, training=False)
    lengths = [
        GameLength(mask, len(frames), 1)
        for mask, frames in zip(games.perspectives, games.frames, strict=True)
    ]
    assert size[:2] == count_unrolls(grid, lengths)
    assert size.steps == -(-size.unrolls // 16) > 3
