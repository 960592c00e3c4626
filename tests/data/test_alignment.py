"""Play and training agree on which input answers which state: a real game through both."""

import json

import fixture_replays
import numpy as np
import pytest

from exphil_tf.data import input as data_input
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import Source
from exphil_tf.features.delay_queue import GAME_FRAMES, DelayQueue
from exphil_tf.features.packing import LAYOUT, action_order, pack
from exphil_tf.melee.types import FIRST_FRAME, GO_FRAME
from exphil_tf.replays.parse import parse
from exphil_tf.replays.players import identity, pseudonym

GOLDEN = fixture_replays.FIXTURES / "golden"
GAME = "items"


def labelled_inputs(player: int, delay: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Row of the game → (previous action, target) of each labelled frame, by the input pipeline."""
    shards = sorted(map(str, GOLDEN.glob("train-original-*")))
    manifest = json.loads((GOLDEN / "manifest.json").read_bytes())
    source = Source({"original": shards}, manifest["chunk_frames"], manifest["overlap_frames"])
    config = InputConfig(window_size=12, burn_in=0, frame_delay=delay)
    dataset = data_input.from_source(config, source, batch_size=8, seed=0, training=False)
    info = parse(fixture_replays.fixture(GAME)).info
    name = pseudonym(identity(info.players[player]))
    number = {entry["player"]: entry["id"] for entry in manifest["players"]}[name]
    found = {}
    for batch in dataset.as_numpy_iterator():
        stage = batch["state"][:, 0, LAYOUT.slots["s.stage"].offset]
        mine = (batch["name"] == number) & (stage == info.stage)
        for unroll in np.flatnonzero(mine):
            first = LAYOUT.slots["frame"].offset
            frame = batch["state"][unroll, :, first : first + 4].copy().view("<i4")[:, 0]
            for step in np.flatnonzero(batch["weight"][unroll]):
                actions = batch["actions"][unroll]
                row = int(frame[step]) - FIRST_FRAME
                assert row not in found, "each frame is labelled once"
                found[row] = actions[step], actions[step + 1]
    return found


@pytest.mark.parametrize("player", [0, 1])
@pytest.mark.parametrize("delay", [0, 2, 5])
def test_a_policy_that_hits_its_targets_plays_the_recorded_game(player: int, delay: int) -> None:
    """What the queue sends after the state of frame f is the recorded input of frame f + 1.

    And its newest input is what training shows as the previous action.
    """
    rows = pack(parse(fixture_replays.fixture(GAME)).frames)
    recorded = rows[:, action_order(player)]
    found = labelled_inputs(player, delay)
    first = GO_FRAME - FIRST_FRAME - GAME_FRAMES - delay
    assert sorted(found) == list(range(first, len(rows) - GAME_FRAMES - delay))
    queue, checked = DelayQueue(delay), 0
    for row, (previous, target) in sorted(found.items()):
        if row > first:
            np.testing.assert_array_equal(queue.newest, previous)
        sent = queue.push(target)
        if row >= first + delay:
            np.testing.assert_array_equal(sent, recorded[row + GAME_FRAMES])
            checked += 1
    assert checked > 60 and len(np.unique(recorded[84:], axis=0)) > 5
