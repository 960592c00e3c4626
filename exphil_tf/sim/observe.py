"""What a frame of a world looks like, as the schema's columns."""

from __future__ import annotations

import numpy as np

from exphil_tf.features.frame_builder import FrameBuilder
from exphil_tf.features.schema import Group
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.enums import HITSTUN_ACTIONS, zero_index_table
from exphil_tf.sim.stage_lines import STAGES

_LACKS = ("p.items_owned", "p.held_item", "p.held_frames")


def observe(matches: np.ndarray) -> dict[str, np.ndarray]:
    """Columns `[matches, *field.shape]` of `MATCH` `[matches]`.

    Charges and lifts (`exphil_tf.features.character_state`) are left at 0, as they need the frames
    before; there are no items.
    """
    players = matches["players"]
    stage = np.array([int(one) for one in STAGES])[matches["stage"]]
    builder = FrameBuilder((len(matches),))
    builder.put(Group.FRAME, {"frame": matches["frame"]})
    builder.put(Group.PLAYER, _player_columns(players))
    builder.put(Group.CONTROLLER, _controller_columns(players))
    builder.put_columns(stage_columns(stage, matches["frame"]))
    for name in _DERIVED:
        builder.put_columns({name: 0})
    return builder.columns()


_DERIVED = (
    "p.charge", "p.lift_spent", "p.judge_last", "p.judge_before", "p.special_state", *_LACKS,
)  # fmt: skip


def _player_columns(players: np.ndarray) -> dict[str, np.ndarray]:
    action = players["action"].astype(np.int64)
    first, last = HITSTUN_ACTIONS
    hurt = (action >= first) & (action <= last)
    shifted = zero_index_table()[players["character"], action]
    return {
        "percent": players["percent"],
        "x": players["x"],
        "y": players["y"],
        "speed_air_x_self": players["vx"],
        "speed_ground_x_self": players["ground_speed"],
        "speed_y_self": players["vy"],
        "speed_x_attack": players["kx"],
        "speed_y_attack": players["ky"],
        "shield": players["shield"],
        "action": action,
        "action_frame": players["age"].astype(np.int64) + shifted,
        "hitstun": np.where(hurt, players["hitstun"], 0).astype(np.int64),
        "hitlag": players["hitlag"].astype(np.int64),
        "character": players["character"],
        "facing": players["facing"] > 0,
        "jumps_left": players["jumps"],
        "on_ground": players["grounded"],
        "invulnerable": players["safe_frames"] > 0,
        "stock": players["stock"],
    }


def _controller_columns(players: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "main_x": players["stick_x"],
        "main_y": players["stick_y"],
        "c_x": players["c_x"],
        "c_y": players["c_y"],
        "shoulder": players["trigger"],
        "buttons": players["buttons"],
    }
