"""libmelee's file reader → schema columns: the slow path.

Reads 2,000 to 6,000 frames/s. libmelee already adds the zero index to leaders' action frames and
replaces Nana's controller; it hands out sticks as 0…1, which are brought back to the game's -1…1
grid exactly.

In file mode libmelee's `Console` opens no socket and starts no process.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import melee
import numpy as np

from exphil_tf.features.item_slots import Items, item_columns
from exphil_tf.features.schema import PLAYERS, SCHEMA
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.controls import AXES, STICK_STEPS
from exphil_tf.melee.enums import BUTTONS, HITSTUN_ACTIONS, Stage
from exphil_tf.melee.types import Frames, GameInfo
from exphil_tf.replays import columns
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.rows import Version, select_rows

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


def read_frames(data: bytes, info: GameInfo, *, version: Version = "last") -> Frames:
    """Frames of a replay of two players, by libmelee.

    Args:
      data: a whole `.slp` file; repaired ones never surprise libmelee.
      info: its header.
      version: which version of rolled-back frames to keep.

    Raises:
      ReplayError: parser_error, no_frames, frame_gap or out_of_range.
    """
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        path = Path(folder) / "game.slp"
        path.write_bytes(data)
        try:
            states = list(_states(path, info))
        except (ReplayError, MemoryError):
            raise
        except Exception as error:
            detail = f"libmelee: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ReplayError(Reason.PARSER_ERROR, detail) from error
    return _frames(states, info, version)


_State = dict[str, Any]


class _Console(melee.Console):
    """libmelee's reader, which takes the high byte of Pokémon Stadium's phase for the phase."""

    # Overrides a private method of libmelee's `Console` by its mangled name.
    def _Console__stadium_transformation(self, gamestate: Any, event_bytes: Any) -> None:
        read: Any = super()
        read._Console__stadium_transformation(gamestate, event_bytes)
        seen: Any = self._stadium_transformation
        seen.event = int(np.ndarray((1,), ">H", event_bytes, 0x5)[0])


def _states(path: Path, info: GameInfo) -> Iterator[_State]:
    """One dict of plain values per frame update, every rollback version included."""
    console = _Console(path=str(path), is_dolphin=False, skip_rollback_frames=False)
    console.connect()
    while (state := console.step()) is not None:
        players = [state.players[player.port] for player in info.players]
        yield {
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


def _frames(states: list[_State], info: GameInfo, version: Version) -> Frames:
    ids = np.array([state["frame"] for state in states], np.int32)
    rows, frame_id, filled = select_rows(ids, version)
    kept: list[_State] = [states[int(row)] for row in np.arange(len(states))[rows]]
    result = SCHEMA.empty(len(kept)) | {"frame": frame_id}
    for player in range(PLAYERS):
        for group in ("p", "n", "c"):
            _fill(result, [state[group][player] for state in kept], group=group, player=player)
        result["n.exists"][:, player] = [state["n"][player] is not None for state in kept]
    for name in AXES:
        result[f"c.{name}"] = unit_to_stick(result[f"c.{name}"])
    ports = [player.port - 1 for player in info.players]
    result |= item_columns(_items(kept), len(kept), ports)
    known = info.stage in (Stage.FOUNTAIN_OF_DREAMS, Stage.DREAMLAND, Stage.POKEMON_STADIUM)
    moving = _moving(ids, [state["stage"] for state in states], frame_id) if known else None
    result |= stage_columns(info.stage, frame_id, moving)
    return columns.finish(result, info, filled)


def _moving(
    ids: np.ndarray, seen: list[dict[str, float]], frame_id: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of the moving parts from what each update showed, rolled-back ones included."""
    shown = {name: np.array([stage[name] for stage in seen]) for name in seen[0]}
    if "phase" in shown:
        told = _changes(shown["phase"], shown["s.stadium"])
        phase, kind = shown["phase"][told], shown["s.stadium"][told]
        return {"s.stadium": columns.stadium(ids[told], phase, frame_id, kind=kind)}
    moving: dict[str, np.ndarray] = {}
    for name, values in shown.items():
        told = _changes(values)
        moving[name] = columns.carry(ids[told], values[told], frame_id, start=values[0])
    return moving


def _changes(*shown: np.ndarray) -> np.ndarray:
    """Indices of the updates that tell something new.

    What lasts is no event: told anew, it would undo what a rollback took back.
    """
    new = [np.append(True, values[1:] != values[:-1]) for values in shown]
    return np.flatnonzero(np.logical_or.reduce(new))


def _fill(
    result: dict[str, np.ndarray], bodies: list[dict[str, Any] | None], *, group: str, player: int
) -> None:
    rows = [row for row, body in enumerate(bodies) if body is not None]
    if not rows:
        return
    for name in next(body for body in bodies if body is not None):
        result[f"{group}.{name}"][rows, player] = [
            body[name] for body in bodies if body is not None
        ]


def _items(states: list[_State]) -> Items:
    entries = [(row, *item) for row, state in enumerate(states) for item in state["items"]]
    parts = list(zip(*entries, strict=True)) or [()] * len(Items._fields)
    whole = {"row", "spawn_id", "type", "state", "owner"}
    arrays = [
        np.array(part, np.int64 if name in whole else np.float32)
        for name, part in zip(Items._fields, parts, strict=True)
    ]
    return Items(*arrays)
