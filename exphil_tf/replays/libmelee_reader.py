"""libmelee's file reader → schema columns: the slow path.

Reads 2,000 to 6,000 frames/s; what a game state says is read by `libmelee_state`, as in play.

In file mode libmelee's `Console` opens no socket and starts no process.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exphil_tf.features.item_slots import Items, item_columns
from exphil_tf.features.schema import PLAYERS, SCHEMA
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.controls import AXES
from exphil_tf.melee.enums import Stage
from exphil_tf.melee.types import Frames, GameInfo
from exphil_tf.replays import columns
from exphil_tf.replays.libmelee_state import (
    SlippiConsole,
    StateValues,
    state_values,
    unit_to_stick,
)
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.rows import Version, select_rows


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


def _states(path: Path, info: GameInfo) -> Iterator[StateValues]:
    """One dict of plain values per frame update, every rollback version included."""
    console = SlippiConsole(path=str(path), is_dolphin=False, skip_rollback_frames=False)
    console.connect()
    ports = [player.port for player in info.players]
    while (state := console.step()) is not None:
        yield state_values(state, ports)


def _frames(states: list[StateValues], info: GameInfo, version: Version) -> Frames:
    ids = np.array([state["frame"] for state in states], np.int32)
    rows, frame_id, filled = select_rows(ids, version)
    kept: list[StateValues] = [states[int(row)] for row in np.arange(len(states))[rows]]
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


def _items(states: list[StateValues]) -> Items:
    entries = [(row, *item) for row, state in enumerate(states) for item in state["items"]]
    parts = list(zip(*entries, strict=True)) or [()] * len(Items._fields)
    whole = {"row", "spawn_id", "type", "state", "owner"}
    arrays = [
        np.array(part, np.int64 if name in whole else np.float32)
        for name, part in zip(Items._fields, parts, strict=True)
    ]
    return Items(*arrays)
