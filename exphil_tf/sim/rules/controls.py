"""The controller as rules ask for it: what is pressed now, and for how long the stick is out.

Thresholds are the game's (published: `docs/simulator.md`); readings are on its own grid already.
"""

from exphil_tf.sim.compiled import rule

A, B, X, Y, Z, L, R, D_UP = 1, 2, 4, 8, 16, 32, 64, 128
LONG_AGO = 254
DASH, DASH_FRAMES = 0.8, 2
SMASH_X, SMASH_Y, SMASH_FRAMES = 0.8, 0.6625, 4
JUMP, CROUCH, DROP, FAST_FALL = 0.6625, -0.6625, -0.6625, -0.6625
C_STICK = 0.8
SPECIAL_Y, SPECIAL_X = 0.55, 0.6
TILT = 0.25
SHIELD = 0.3
FAST_FALL_FRAMES = 4
_TILT_OUT = 0.25


@rule
def read_input(p, pad):
    """Takes a controller in: what it was moves to the `old_…` fields."""
    p.older_x = p.old_x
    p.old_x = p.stick_x
    p.old_y = p.stick_y
    p.old_c_x = p.c_x
    p.old_c_y = p.c_y
    p.old_trigger = p.trigger
    p.stick_x = pad.stick_x
    p.stick_y = pad.stick_y
    p.c_x = pad.c_x
    p.c_y = pad.c_y
    p.trigger = pad.trigger
    p.pressed = pad.buttons & ~p.buttons
    p.buttons = pad.buttons
    p.tilt_x = _frames_out(p.tilt_x, p.stick_x, p.old_x)
    p.tilt_y = _frames_out(p.tilt_y, p.stick_y, p.old_y)
    p.cancel_frames = min(p.cancel_frames + 1, LONG_AGO)
    if p.pressed & (L | R | Z) or (p.trigger >= SHIELD and p.old_trigger < SHIELD):
        p.cancel_frames = 0
    p.tech_frames = min(p.tech_frames + 1, LONG_AGO)
    if p.pressed & (L | R) and p.tech_frames >= 40:
        p.tech_frames = 0


@rule
def _frames_out(frames, now, before):
    if now * before > 0 and abs(now) >= _TILT_OUT and abs(before) >= _TILT_OUT:
        return min(frames + 1, LONG_AGO)
    return 0 if abs(now) >= _TILT_OUT else LONG_AGO


@rule
def wants_dash(p, direction):
    """A flick of the stick to a side; `direction` 1 or -1."""
    return p.stick_x * direction >= DASH and p.tilt_x < DASH_FRAMES


@rule
def dashes_back(p, direction):
    """UCF's dash back: the stick came from near the centre within two frames (raw 75 of 80)."""
    travel = (p.stick_x - p.older_x) * direction
    return p.stick_x * direction >= DASH and travel > DASH_BACK_TRAVEL


DASH_BACK_TRAVEL = 75 / 80


@rule
def jumps_by_stick(p):
    """A flick of the stick upwards."""
    return p.stick_y >= JUMP and p.tilt_y < SMASH_FRAMES


@rule
def wants_jump(p):
    """X or Y, or a flick of the stick upwards."""
    return p.pressed & (X | Y) != 0 or jumps_by_stick(p)


@rule
def holds_jump(p, by_stick):
    """Whether a jump in the making becomes a full one: held is what began it."""
    return p.stick_y >= JUMP if by_stick else p.buttons & (X | Y) != 0


@rule
def holds_any_jump(p):
    """X or Y, or the stick upwards."""
    return p.buttons & (X | Y) != 0 or p.stick_y >= JUMP


@rule
def holds_shield(p):
    """Either trigger, pressed or half pressed."""
    return p.buttons & (L | R) != 0 or p.trigger >= SHIELD


@rule
def c_flick_x(p):
    """-1, 0 or 1: the C-stick goes to a side on this frame."""
    if abs(p.c_x) >= C_STICK and abs(p.old_c_x) < C_STICK:
        return 1 if p.c_x > 0 else -1
    return 0


@rule
def c_flick_y(p):
    """As `c_flick_x`, up and down."""
    if abs(p.c_y) >= SMASH_Y and abs(p.old_c_y) < SMASH_Y:
        return 1 if p.c_y > 0 else -1
    return 0
