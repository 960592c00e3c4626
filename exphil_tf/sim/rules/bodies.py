"""Two bodies do not stand in one place."""

from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule

PUSH = 0.3
HEIGHT = 1.0


@rule
def _stands_aside(p):
    """Whether nobody pushes or is pushed by it: in the air, holding, held, sliding while down."""
    if not p.grounded or act.GRAB_PULL <= p.action <= act.CAPTURED_LAST:
        return True
    if act.THROWN_FIRST <= p.action <= act.THROWN_LAST:
        return True
    return (p.action == act.DOWN_BOUND_UP or p.action == act.DOWN_BOUND_DOWN) and p.flag != 0


@rule
def _slips_through(p):
    """Whether it is not pushed, though it pushes: rolling, dodging, climbing onto the stage."""
    return (
        act.ROLL_F <= p.action <= act.SPOT_DODGE
        or act.LEDGE_GETUP_SLOW <= p.action <= act.LEDGE_JUMP_2
    )


@rule
def push(first, second, tables):
    """Sets what each is pushed by on this frame: away from the other, if both stand."""
    first.push = 0.0
    second.push = 0.0
    if _stands_aside(first) or _stands_aside(second) or abs(first.y - second.y) > HEIGHT:
        return
    apart = first.x - second.x
    reach = tables.attributes[first.character].body + tables.attributes[second.character].body
    if abs(apart) >= reach:
        return
    side = 1.0 if apart > 0 else -1.0
    if not _slips_through(first):
        first.push = PUSH * side
    if not _slips_through(second):
        second.push = -PUSH * side
