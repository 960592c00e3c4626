"""One libmelee game state as plain values: what the file reader and a live game share.

libmelee already adds the zero index to leaders' action frames and replaces Nana's controller; it
hands out sticks as 0…1, which are brought back to the game's -1…1 grid exactly.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import melee
import numpy as np

from exphil_tf.melee.controls import STICK_STEPS
from exphil_tf.melee.enums import BUTTONS, HITSTUN_ACTIONS
from exphil_tf.replays import columns

_STICK_GRIDS = (127, 128, STICK_STEPS)
"""Steps from centre to rim: CPU players use the first two, human pads the last."""
_STICK_NOISE = 1e-6
"""Above float32 rounding (6e-8), below the distance of points of different grids (6e-5)."""
_BUTTON_BITS = [(melee.Button[f"BUTTON_{name}"], 1 << bit) for bit, name in enumerate(BUTTONS)]
_PLAIN = (
    "percent", "speed_air_x_self", "speed_ground_x_self", "speed_y_self", "speed_x_attack",
    "speed_y_attack",
    "action_frame", "facing", "jumps_left", "on_ground", "invulnerable", "stock",
)  # fmt: skip
"""PlayerState attributes that carry the schema's name and meaning."""


StateValues = dict[str, Any]
"""Of one frame: `frame`; `p`, `n` and `c` per player by short column name (`n` None without Nana);
`items`; `stage`, the moving parts by column, with Pokémon Stadium's `phase`."""


class SlippiConsole(melee.Console):
    """libmelee's console, which takes the high byte of Pokémon Stadium's phase for the phase."""

    # Overrides a private method of libmelee's `Console` by its mangled name.
    def _Console__stadium_transformation(self, gamestate: Any, event_bytes: Any) -> None:
        read: Any = super()
        read._Console__stadium_transformation(gamestate, event_bytes)
        seen: Any = self._stadium_transformation
        seen.event = int(np.ndarray((1,), ">H", event_bytes, 0x5)[0])


def state_values(state: Any, ports: Sequence[int]) -> StateValues:
    """Plain values of a `melee.GameState`.

    Args:
      state: of a frame in a game.
      ports: the two players', 1 to 4, ascending.

    Raises: KeyError: if a port is not there.
    """
    players = [state.players[port] for port in ports]
    return {
        "frame": int(state.frame),
        "p": [_body(player) for player in players],
        "n": [None if player.nana is None else _body(player.nana) for player in players],
        "c": [_controller(player.controller_state) for player in players],
        "items": [_item(item) for item in state.projectiles],
        "stage": _stage(state),
    }


def _body(player: Any) -> dict[str, Any]:
    action = int(player.action.value)
    first, last = HITSTUN_ACTIONS
    body = {name: getattr(player, name) for name in _PLAIN}
    body["x"], body["y"] = player.position.x, player.position.y
    body["shield"], body["character"], body["action"] = (
        player.shield_strength,
        player.character.value,
        action,
    )
    body["hitlag"] = min(max(player.hitlag_left, 0), 255)
    body["hitstun"] = player.hitstun_frames_left if first <= action <= last else 0
    return body


def _controller(pad: Any) -> dict[str, Any]:
    main, c_stick = pad.main_stick, pad.c_stick
    return {
        "main_x": main[0], "main_y": main[1], "c_x": c_stick[0], "c_y": c_stick[1],
        "shoulder": pad.l_shoulder,
        "buttons": sum(bit for button, bit in _BUTTON_BITS if pad.button[button]),
    }  # fmt: skip


def unit_to_stick(values: np.ndarray) -> np.ndarray:
    """float32 sticks in -1…1 from libmelee's 0…1; exact for values on one of `_STICK_GRIDS`."""
    stick = (np.asarray(values, np.float64) - 0.5) * 2
    result = stick.astype(np.float32)
    for grid in _STICK_GRIDS:
        steps = np.rint(stick * grid)
        result = np.where(np.abs(stick - steps / grid) < _STICK_NOISE, steps / grid, result)
    return result.astype(np.float32)


def _item(item: Any) -> tuple[float, ...]:
    return (
        int(item.spawn_id), int(getattr(item.type, "value", item.type)), int(item.subtype),
        item.expiration_frames,
        item.position.x, item.position.y, item.speed.x, item.speed.y, int(item.owner) - 1,
    )  # fmt: skip


def _stage(state: Any) -> dict[str, float]:
    """Moving stage parts of 3.18 and later, copied: libmelee shares one object among states."""
    if state.fod_platforms is not None:
        return {
            "s.fod_left": float(state.fod_platforms.left),
            "s.fod_right": float(state.fod_platforms.right),
        }
    if state.whispy is not None:
        return {"s.whispy": int(columns.whispy(np.array(int(state.whispy.value))))}
    if state.stadium_transformation is not None:
        seen = state.stadium_transformation
        phase = getattr(seen.event, "value", seen.event)
        return {"phase": int(phase), "s.stadium": int(seen.type.value)}
    return {}
