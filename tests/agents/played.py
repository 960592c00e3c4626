"""Games in the fake Dolphin: how they are played, and that their replays hold what was played."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exphil_tf.agents.agent import Agent
from exphil_tf.agents.dolphin import Dolphin, DolphinOptions
from exphil_tf.agents.game_record import GameRecord, Report
from exphil_tf.agents.match_loop import MatchLoop, MatchRules, Seat
from exphil_tf.features.controller import ControllerCodec, to_bytes
from exphil_tf.features.packing import action_order, pack
from exphil_tf.melee.controls import AXES
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.replays.parse import parse
from tests.agents.game_states import assert_same_columns
from tests.agents.test_agent import Counting

CODEC = ControllerCodec(within_reach=True)
_STILL = dict.fromkeys(AXES, np.float32(0)) | {"buttons": np.zeros(8)}
SHOULDER = int(np.flatnonzero(to_bytes({**_STILL, "shoulder": np.float32(1)}))[0])
"""Place of the shoulder in stored bytes."""


class Random:
    """Draws inputs, and keeps what it was shown and what it said."""

    def __init__(self):
        self.stale = self.dropped = 0
        self.rng = np.random.default_rng(2)
        self.games: list[tuple[list, list]] = []

    def begin(self):
        self.games.append(([], []))

    def answer(self, frame, columns):
        axes = {name: self.rng.integers(0, 17) for name in AXES}
        buckets = {"buttons": self.rng.integers(0, 2, 8), **axes, "shoulder": 0}
        stored = to_bytes(CODEC.decode(buckets))
        seen, said = self.games[-1]
        seen.append({name: column[0].copy() for name, column in columns.items()})
        said.append(stored)
        return stored

    def close(self):
        pass


def play(options: DolphinOptions, seats: Sequence[Seat], rules: MatchRules, *, report=None):
    """Records of the games, and the lines that were said."""
    report, lines = report or Report(None), []
    with Dolphin(options, [seat.port for seat in seats]) as dolphin:
        MatchLoop(dolphin, seats, rules, report=report, say=lines.append).run()
    return report.records, lines


def rules(options: DolphinOptions, stage: Stage = Stage.BATTLEFIELD, **others) -> MatchRules:
    return MatchRules(stage, replay_dir=options.replay_dir, **others)


def seat(driver, port=1, character=Character.MEWTWO, **others) -> Seat:
    return Seat(port, character, "bundle", Agent(Counting()), driver, **others)


def assert_replay_holds(
    options: DolphinOptions, record: GameRecord, game: tuple[list, list], *, player: int = 0
) -> None:
    """Inputs said after frame N are those of N + 1, and every column is the one that was seen.

    Args:
      options: of Dolphin.
      record: of the game.
      game: what a `Random` of the lower port (or as whom `player` tells) saw and said.
      player: index in port order.
    """
    seen, said = game
    assert options.replay_dir is not None
    written = parse(options.replay_dir / record.replay, version="first")
    rows = pack(written.frames)
    own = rows[1:, action_order(player)]
    # A clicked trigger reads as a full one, Z as a third.
    found, want = (np.delete(np.asarray(inputs), SHOULDER, 1) for inputs in (own, said[:-1]))
    np.testing.assert_array_equal(found, want)
    if player:
        return  # its columns are in another order
    live = {name: np.stack([columns[name] for columns in seen]) for name in seen[0]}
    assert len(live["frame"]) == len(rows)
    assert_same_columns(live, written)
