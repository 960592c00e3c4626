"""Compiled comparison of the rules with a recorded game: one frame ahead of each, and freely."""

from __future__ import annotations

from exphil_tf.sim.compiled import kernel
from exphil_tf.sim.kernel import step_match
from exphil_tf.sim.replay_state import force, learn_rate, settle_platform


@kernel
def follow(match, players, truth, pads, tables, ahead):
    """What the rules make of each recorded frame, started from the one before.

    Args:
      match: `MATCH` `[1]`, on the right stage.
      players: its players `[1, 2]`.
      truth: `SEEN` `[frames, 2]`.
      pads: `INPUT` `[frames, 2]`.
      tables: `TABLES` `[1]`.
      ahead: `PLAYER` `[frames, 2]`, filled: row f is made of row f - 1 of the truth.
    """
    for seat in range(2):
        force(players[0, seat], truth[0, seat], tables[0])
    for frame in range(1, len(truth)):
        step_match(match[0], players[0], pads[frame], tables[0])
        for seat in range(2):
            ahead[frame, seat] = players[0, seat]
            force(players[0, seat], truth[frame, seat], tables[0])
            settle_platform(match[0], players[0, seat], tables[0])
            learn_rate(players[0, seat], truth[frame - 1, seat], truth[frame, seat])
