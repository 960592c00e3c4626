"""The queue of the last moves that hit: a move that is in it does less."""

from exphil_tf.sim.compiled import rule

MOVES, KEPT = 9, 10
"""Moves that count; one more is kept, for the release of a throw that has hit on the way."""
FIRST_THROW, LAST_THROW = 53, 56
"""Moves of throws, as replays number them."""
NO_MOVE = 1
"""What hits and is no move of its own (a hammer, a Mr. Saturn) never stales."""


@rule
def share(p, move):
    """Share of its damage that a move has left."""
    left = 1.0
    for at in range(MOVES):
        if p.stale[at] == move:
            left -= 0.01 * (MOVES - at)
    return left


@rule
def share_before(p, move):
    """The same, of a move that is in the queue for its own sake: without that."""
    if p.stale[0] != move:
        return share(p, move)
    left = 1.0
    for at in range(1, KEPT):
        if p.stale[at] == move:
            left -= 0.01 * (MOVES + 1 - at)
    return left


@rule
def remember(p, move):
    """Puts a move into the queue, once for each use."""
    if p.used == move:
        return
    p.used = move
    _push(p, move)


@rule
def remember_shot(p, move, use):
    """The same for a projectile: those of one action count once, and those of a throw are its own.

    Args:
      p: `PLAYER` record.
      move: as replays number it.
      use: number of the action that it left in.
    """
    if FIRST_THROW <= move <= LAST_THROW:
        remember(p, move)
    elif p.shot_use != use:
        p.shot_use = use
        _push(p, move)


@rule
def _push(p, move):
    if move <= NO_MOVE:
        return
    for at in range(KEPT - 1, 0, -1):
        p.stale[at] = p.stale[at - 1]
    p.stale[0] = move


@rule
def forget(p):
    """Empties the queue, as the loss of a stock does."""
    p.used = 0
    p.shot_use = 0
    for at in range(KEPT):
        p.stale[at] = 0
