"""Games between two players, to count: nobody learns, sides are shared evenly, all are finished.

Every match plays the same number of games, however long they last; to stop once enough have ended
would count short ones too often. A game that is broken off is played anew, though what was done in
it stays in the sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exphil_tf.rewards.terms import OPPONENT, OWN
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.behaviour import Behaviour
from exphil_tf.rl.matches import Matches
from exphil_tf.rl.results import outcome
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.tally import Tally
from models.policy import PREVIOUS_CONTROLLER

_LEDGE = (252, 263)
"""First and last action of hanging on a ledge and leaving it."""


def play(matches: Matches, own: Seats, actors: Sequence[Actor], *, games: int, seed: int) -> Tally:
    """Plays until each match has played so many games.

    Args:
      matches: at their first frame; seats that no actor has are scripts'.
      own: whose side is told of: one seat a match.
      actors: who plays.
      games: of each match.
      seed: of the drawn actions.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    tally, left = Tally(), np.full(matches.count, games)
    controllers = np.zeros((matches.count, 2, PREVIOUS_CONTROLLER), np.float32)
    was_hit, behaviour = np.zeros((matches.count, 2), bool), Behaviour(matches.count)
    before = _seen(matches, own)
    while left.any():
        for actor in actors:
            seen = actor.look(matches.inputs(actor.layout))
            actor.act(seen, rng.random((len(actor.seats), actor.policy.num_uniforms), np.float32))
            controllers[actor.seats.match, actor.seats.player] = actor.due()
        matches.step(controllers)
        after = _seen(matches, own)
        counts = left > 0
        was_hit = _count(tally, before, after, was_hit=was_hit, counts=counts)
        behaviour.see(tally, before, after, counts=counts)
        over = matches.is_over
        ended = over & counts & ~matches.is_broken_off
        _end(tally, {name: column[ended] for name, column in after.items()})
        left[ended] -= 1
        if over.any():
            matches.reset(np.flatnonzero(over))
            for actor in actors:
                actor.begin(over)
            was_hit[over] = False
            behaviour.begin(over)
            after = _seen(matches, own)
        before = after
    return tally


def _seen(matches: Matches, own: Seats) -> dict[str, np.ndarray]:
    """Columns of players `[matches, own/opponent]`."""
    columns = matches.columns()
    names = ("p.stock", "p.percent", "p.on_ground", "p.action", "p.x", "p.hitstun")
    return {name: own.own_first(columns[name][None])[0].astype(np.float32) for name in names}


def _count(
    tally: Tally,
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    *,
    was_hit: np.ndarray,
    counts: np.ndarray,
) -> np.ndarray:
    """Adds a frame; returns who was hit since the ground or ledge was left."""
    lost = np.maximum(before["p.stock"] - after["p.stock"], 0)
    rise = np.where(lost > 0, 0, np.maximum(after["p.percent"] - before["p.percent"], 0))
    hangs = (after["p.action"] >= _LEDGE[0]) & (after["p.action"] <= _LEDGE[1])
    was_hit = (was_hit & (after["p.on_ground"] == 0) & ~hangs) | (rise > 0)
    tally.frames += int(counts.sum())
    tally.stocks_lost += int(lost[counts, OWN].sum())
    tally.stocks_taken += int(lost[counts, OPPONENT].sum())
    tally.self_destructs += int((lost * ~was_hit)[counts, OWN].sum())
    tally.damage_taken += float(rise[counts, OWN].sum())
    tally.damage_dealt += float(rise[counts, OPPONENT].sum())
    tally.on_ledge += int(hangs[counts, OWN].sum())
    return was_hit


def _end(tally: Tally, columns: Mapping[str, np.ndarray]) -> None:
    """Adds the games whose last frame this is."""
    ended = outcome(columns)
    tally.games += len(ended.won)
    tally.wins += float(ended.won.sum())
    tally.timeouts += int((columns["p.stock"] > 0).all(-1).sum())
    tally.leads += ended.stocks.tolist()
