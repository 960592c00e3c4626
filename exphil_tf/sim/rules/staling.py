"""The queue of the last nine moves that hit: a move that is in it does less."""

from exphil_tf.sim.compiled import rule

MOVES = 9


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
    for at in range(1, MOVES):
        if p.stale[at] == move:
            left -= 0.01 * (MOVES + 1 - at)
    return left


@rule
def remember(p, move):
    """Puts a move into the queue, once for each use."""
    if p.used == move:
        return
    p.used = move
    push(p, move)


@rule
def push(p, move):
    """Puts a move into the queue: a projectile's, of which each is a use of its own."""
    for at in range(MOVES - 1, 0, -1):
        p.stale[at] = p.stale[at - 1]
    p.stale[0] = move


@rule
def forget(p):
    """Empties the queue, as the loss of a stock does."""
    p.used = 0
    for at in range(MOVES):
        p.stale[at] = 0
