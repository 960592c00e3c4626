"""Raw replay values → schema columns: where the conventions of both readers are made equal.

peppi-py and libmelee agree bit for bit on version 3 replays once these hold (checked by
`tests/replays/test_parity.py`):

- action_frame = int(state_age), + 1 where (character, action) is in libmelee's zero-index table;
  leaders only.
- hitstun = int(misc_as), and 0 unless the action is a damage action (75 to 91), as the register is
  reused.
- hitlag = int(hitlag); on_ground = airborne == 0; invulnerable = hurtbox_state != 0; facing =
  direction > 0.
- sticks are `pre.joystick` and `pre.cstick`; the shoulder is `pre.triggers`; buttons are the
  physical ones.
- the character is the post-frame's, which follows Zelda and Sheik.
- an item's owner is a port counted from 0, -1 for nobody.

Rows and spoiled ones: `exphil_tf.replays.rows`. Columns that a version did not record yet:
`exphil_tf.replays.absent`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exphil_tf.features.character_state import character_columns
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee import stages
from exphil_tf.melee.enums import BUTTON_MASKS, BUTTONS, HITSTUN_ACTIONS, zero_index_table
from exphil_tf.melee.types import Frames, GameInfo
from exphil_tf.replays import absent, rows

COPIED = {
    "percent": ("percent",),
    "x": ("position", "x"),
    "y": ("position", "y"),
    "shield": ("shield",),
    "speed_air_x_self": ("velocities", "self_x_air"),
    "speed_ground_x_self": ("velocities", "self_x_ground"),
    "speed_y_self": ("velocities", "self_y"),
    "speed_x_attack": ("velocities", "knockback_x"),
    "speed_y_attack": ("velocities", "knockback_y"),
    "character": ("character",),
    "stock": ("stocks",),
    "jumps_left": ("jumps",),
}
"""Schema name → path of the post-frame value in peppi's table, for those taken as they are."""
STICKS = {
    "main_x": ("joystick", "x"),
    "main_y": ("joystick", "y"),
    "c_x": ("cstick", "x"),
    "c_y": ("cstick", "y"),
    "shoulder": ("triggers",),
}

_INT16 = np.iinfo(np.int16)


def to_int(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """`int()` of each value (towards zero) within bounds; NaN gives 0."""
    return np.clip(np.nan_to_num(values, nan=0.0), low, high).astype(np.int32)


def action_frame(
    state_age: np.ndarray, action: np.ndarray, character: np.ndarray, *, leader: bool
) -> np.ndarray:
    """int16 action frame as libmelee counts it: from 1 for leaders, unshifted for Nana."""
    frames = to_int(state_age, _INT16.min, _INT16.max)
    if leader:
        table = zero_index_table()
        frames = frames + table[character, np.minimum(action, table.shape[1] - 1)]
    return np.minimum(frames, _INT16.max).astype(np.int16)


def hitstun(misc_as: np.ndarray, action: np.ndarray) -> np.ndarray:
    """int16 frames of hitstun left; 0 outside damage actions."""
    first, last = HITSTUN_ACTIONS
    return np.where(
        (action >= first) & (action <= last), to_int(misc_as, _INT16.min, _INT16.max), 0
    ).astype(np.int16)


def _button_table() -> np.ndarray:
    words = np.arange(1 << 16)
    table = np.zeros(1 << 16, np.uint8)
    for bit, button in enumerate(BUTTONS):
        table |= ((words & BUTTON_MASKS[button]) != 0).astype(np.uint8) << np.uint8(bit)
    return table


_BUTTON_TABLE = _button_table()


def buttons(physical: np.ndarray) -> np.ndarray:
    """uint8 bitmask of the eight policy buttons from the 16-bit physical button word."""
    return _BUTTON_TABLE[physical]


def carry(
    told: np.ndarray, values: np.ndarray, frame_id: np.ndarray, *, start: float
) -> np.ndarray:
    """float64 `[frames]`: what the events say of each frame.

    An event holds from its own frame on. A rollback takes the game back to before an event, and the
    frames that are played again up to it hold what was before; whether the file repeats the event
    is then the same.

    Args:
      told: int `[events]`, frame ids in the file's order.
      values: `[events]`.
      frame_id: int32 `[frames]`, ascending.
      start: what holds before the first event.
    """
    order = np.argsort(told, kind="stable")
    newest = np.maximum.accumulate(order)  # of the events up to each frame, the last in the file
    last = np.searchsorted(told[order], frame_id, side="right")
    held = np.concatenate([[start], values[newest]])
    return held[last]


def stadium(
    told: np.ndarray, phase: np.ndarray, frame_id: np.ndarray, *, kind: np.ndarray
) -> np.ndarray:
    """float64 `[frames]`: the transformation on the ground; see `carry`.

    Args:
      told: int `[events]`, frame ids in the file's order.
      phase: `[events]`.
      frame_id: int32 `[frames]`, ascending.
      kind: `[events]`, the transformation each is about.
    """
    stands = np.isin(phase, stages.STADIUM_STANDING)
    return carry(told[stands], kind[stands], frame_id, start=stages.STADIUM_NORMAL)


def whispy(direction: np.ndarray) -> np.ndarray:
    """int8 wind, -1 left, 0 none, 1 right, from the event's 1, 0, 2."""
    return np.array([0, -1, 1], np.int8)[np.minimum(direction, 2)]


def finish(columns: Mapping[str, np.ndarray], info: GameInfo, filled: np.ndarray) -> Frames:
    """The columns as `Frames`, in schema order: implausible values masked, lacking ones derived.

    Character state is derived last, of what is then there.

    Args:
      columns: every column of the schema.
      info: the file's header; it says what the file lacks.
      filled: bool `[frames]`: rows that are not in the file.

    Raises:
      ReplayError: out_of_range, with the first offending column, if too many rows are spoiled.
    """
    result = {name: columns[name] for name in SCHEMA.names}
    result = absent.derive(rows.mask(result, filled), info.absent)
    return Frames(result | character_columns(result))
