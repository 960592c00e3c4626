"""Two bodies do not stand in one place."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule

PUSH = 0.3
HEIGHT = 6.0


@rule
def _passes(p):
    """Whether others stand in one place with it: who holds, is held, rolls or dodges."""
    return act.GRAB_PULL <= p.action <= act.THROWN_LAST


@rule
def push(first, second, tables):
    """Sets what each is pushed by on this frame: away from the other, if both stand."""
    first.push = 0.0
    second.push = 0.0
    if not (first.grounded and second.grounded) or _passes(first) or _passes(second):
        return
    apart = first.x - second.x
    reach = tables.attributes[first.character].body + tables.attributes[second.character].body
    if abs(apart) >= reach or abs(first.y - second.y) > HEIGHT:
        return
    side = 1.0 if apart > 0 else -1.0
    first.push = PUSH * side
    second.push = -PUSH * side
