"""Counted games between any two policies or scripts, by networks that are compiled once.

All policies of a league have one network, so whoever plays next is a change of weights.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.rl import contest
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.ppo_setup import (
    MOST_MATCHES,
    delay_of,
    make_matches,
    seat_script,
    with_contest_clock,
)
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.tally import Tally
from exphil_tf.training import run_folder
from exphil_tf.training.ppo_config import SCRIPT, PlayingConfig


class Table:
    """Where games are counted.

    Args:
      config: resolved; `contest_games` of each pair.
      start: folder of a policy of the network that all have.
    """

    def __init__(self, config: PlayingConfig, start: Path):
        self._config, self._start = config, run_folder.find_bundle(start)
        count = min(config.run.contest_games, MOST_MATCHES)
        self._seats = tuple(
            Seats.of([(match, (match + side) % 2) for match in range(count)]) for side in (0, 1)
        )
        self._actors = tuple(self._actor(seats) for seats in self._seats)
        self._fresh = tuple(actor.state() for actor in self._actors)
        self._fresh = tuple({n: np.array(v) for n, v in one.items()} for one in self._fresh)

    def count(self, one: str, other: str, *, seed: int) -> Tally:
        """Plays games; each match as many, on changing ports.

        Args:
          one: folder of a policy, or a script's name with its prefix; its deeds are told.
          other: likewise.
          seed: of all that is drawn.
        """
        run = dataclasses.replace(self._config.run, seed=seed)
        config = with_contest_clock(dataclasses.replace(self._config, run=run))
        matches = make_matches(config, self._seats[0], self._actors[0].layout)
        playing: list[Actor] = []
        for side, name in enumerate((one, other)):
            if name.startswith(SCRIPT):
                seat_script(matches, name, self._seats[side])
                continue
            actor = self._actors[side]
            bundles.start_from(actor.policy, run_folder.find_bundle(Path(name)))
            actor.restore(self._fresh[side])
            playing.append(actor)
        games = -(-config.run.contest_games // matches.count)
        return contest.play(matches, self._seats[0], playing, games=games, seed=seed)

    def _actor(self, seats: Seats) -> Actor:
        policy, info = bundles.load_policy(self._start)
        delay = delay_of(info, self._config.game.frame_delay)
        return Actor(policy, info, seats, delay=delay, jit=self._config.run.jit)
