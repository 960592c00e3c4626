"""What happened on a frame: damage, stocks, whose doing it was, and who has won."""

import numpy as np

from exphil_tf.features.field import PLAYERS
from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule

NOBODY = -1
"""Has won: the match goes on, or ended with nothing between the players."""
EVENTS = np.dtype(
    [
        ("damage", "f4", (PLAYERS,)),  # percent that each player dealt on the frame
        ("stocks_lost", "u1", (PLAYERS,)),
        ("self_destructs", "u1", (PLAYERS,)),  # stocks lost with no hit since the ground was left
        ("done", "?"),  # nobody plays on; stays so until the match is reset
        ("winner", "i1"),  # 0, 1, or NOBODY
        ("unused", "u1", (2,)),  # where alignment would leave bytes that nobody writes
        # -- What the next frame is compared with
        ("percents", "f4", (PLAYERS,)),
        ("stocks", "i1", (PLAYERS,)),
        ("was_hit", "u1", (PLAYERS,)),
    ],
    align=True,
)
"""What happened in a match on a frame, players in port order."""


@rule
def _leader(first, second):
    """Who is ahead: by stocks, then by percent."""
    if first.stock != second.stock:
        return 0 if first.stock > second.stock else 1
    if first.percent != second.percent:
        return 0 if first.percent < second.percent else 1
    return NOBODY


@rule
def note_events(match, event):
    """What happened since the frame before.

    Args:
      match: `MATCH` record.
      event: `EVENTS` record of the frame before; written.
    """
    for seat in range(PLAYERS):
        p = match.players[seat]
        lost = max(0, event.stocks[seat] - p.stock)
        taken = 0.0 if lost else max(0.0, p.percent - event.percents[seat])
        if taken > 0:
            event.was_hit[seat] = 1
        elif p.grounded or act.LEDGE_CATCH <= p.action <= act.LEDGE_WAIT:
            event.was_hit[seat] = 0
        event.damage[1 - seat] = taken
        event.stocks_lost[seat] = lost
        event.self_destructs[seat] = lost > 0 and event.was_hit[seat] == 0
        event.percents[seat] = p.percent
        event.stocks[seat] = p.stock
    event.done = match.over != 0
    if event.done:
        event.winner = _leader(match.players[0], match.players[1])
