"""Compiled comparison of the rules with a recorded game: one frame ahead of each, and freely."""

from __future__ import annotations

import math

from exphil_tf.sim.compiled import kernel
from exphil_tf.sim.kernel import step_match
from exphil_tf.sim.replay_state import (
    force,
    guess_wind,
    learn_hit,
    learn_rate,
    remember_share,
    set_stage,
    settle_platform,
    was_hit,
)
from exphil_tf.sim.rules import keeps, stocks
from exphil_tf.sim.state import SHOTS

NEAR = 1.0


@kernel
def follow(match, players, truth, stage, shots, by_shot, pads, tables, ahead, flown, starts):
    """What the rules make of each recorded frame, started from the one before.

    Args:
      match: `MATCH` `[1]`, on the right stage.
      players: its players `[1, 2]`.
      truth: `SEEN` `[frames, 2]`.
      stage: `TOLD` `[frames]`.
      shots: `SHOT` `[frames, SHOTS]`: the recorded projectiles.
      by_shot: uint16 `[frames, 2]`: the use of a player's projectile that hits; 0: none does.
      pads: `INPUT` `[frames, 2]`.
      tables: `TABLES` `[1]`.
      ahead: `PLAYER` `[frames, 2]`, filled: row f is made of row f - 1 of the truth.
      flown: `SHOT` `[frames, SHOTS]`, filled alike.
      starts: `MATCH` `[frames]`, filled: the state of each recorded frame.
    """
    for seat in range(2):
        force(players[0, seat], truth[0, seat], truth[0, seat], tables[0])
    starts[0] = match[0]
    for frame in range(1, len(truth)):
        set_stage(match[0], players[0], stage[frame])
        step_match(match[0], players[0], pads[frame], tables[0])
        for seat in range(2):
            stocks.live_or_die(match[0], seat, players[0], tables[0])
        for seat in range(2):
            ahead[frame, seat] = players[0, seat]
            if not stage[frame].known:
                guess_wind(match[0], players[0, seat], truth[frame, seat])
            force(players[0, seat], truth[frame, seat], truth[frame - 1, seat], tables[0])
            if not stage[frame].known:
                settle_platform(match[0], players[0, seat], tables[0])
            learn_rate(players[0, seat], truth[frame - 1, seat], truth[frame, seat])
            keeps.remember(players[0, seat], tables[0])
        for slot in range(SHOTS):
            flown[frame, slot] = match[0].shots[slot]
            match[0].shots[slot] = shots[frame, slot]
            remember_share(match[0].shots[slot], slot, starts[frame - 1], tables[0])
        for seat in range(2):
            lands = was_hit(truth[frame, 1 - seat], truth[frame - 1, 1 - seat])
            learn_hit(
                players[0, seat], starts[frame - 1].players[seat], truth[frame, seat],
                truth[frame - 1, seat], lands, by_shot[frame, seat], tables[0],
            )  # fmt: skip
        starts[frame] = match[0]


@kernel
def run_freely(starts, match, players, truth, stage, pads, tables, lengths, every, found):
    """Runs the rules on from every so many frames, without looking at the record.

    Args:
      starts: `MATCH` `[frames]`, of `follow`.
      match: `MATCH` `[1]`, room to work in.
      players: its players `[1, 2]`.
      truth: `SEEN` `[frames, 2]`.
      stage: `TOLD` `[frames]`.
      pads: `INPUT` `[frames, 2]`.
      tables: `TABLES` `[1]`.
      lengths: int `[free]`, ascending.
      every: frames from one start to the next.
      found: int8 `[frames, 2, free, 3]`, filled: started, near, same action.
    """
    for start in range(0, len(truth) - lengths[-1], every):
        match[0] = starts[start]
        for step in range(1, lengths[-1] + 1):
            set_stage(match[0], players[0], stage[start + step])
            step_match(match[0], players[0], pads[start + step], tables[0])
            for seat in range(2):
                keeps.remember(players[0, seat], tables[0])
            for which in range(len(lengths)):
                if lengths[which] != step:
                    continue
                for seat in range(2):
                    p = players[0, seat]
                    r = truth[start + step, seat]
                    found[start, seat, which, 0] = 1
                    found[start, seat, which, 1] = math.hypot(p.x - r.x, p.y - r.y) < NEAR
                    found[start, seat, which, 2] = p.action == r.action
