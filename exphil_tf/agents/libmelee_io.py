"""Live games by libmelee: game states to schema columns, controllers to pipe commands.

What a game state says is read by the function that reads replays through libmelee
(`replays.libmelee_state`), and put together by the tools of `features` that look backwards only:
item slots, character state, stage parts. A test streams replays through here and compares every
column with what records hold.

What differs from a replay, and why:

* libmelee shows the first version of a frame that a connection rolls back; records hold the last.
* Sticks are rounded to 1/80 and triggers to 1/140, as records store them; only CPU players' are
  off that grid.
* A value out of a column's range keeps the one before it, as it does in records, but no frame
  behind it is known.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import melee
import numpy as np

from exphil_tf.features.character_state import CharacterTracker
from exphil_tf.features.controller_state import ControllerState
from exphil_tf.features.item_slots import NO_ITEMS, Items, ItemTracker
from exphil_tf.features.schema import SCHEMA, SPOILED, Group
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.controls import AXES, STICK_STEPS, TRIGGER_STEPS
from exphil_tf.melee.enums import BUTTONS, STAGE_FROM_LIBMELEE, Stage
from exphil_tf.melee.stages import STADIUM_STANDING
from exphil_tf.melee.types import GameInfo
from exphil_tf.replays import absent
from exphil_tf.replays.libmelee_state import StateValues, state_values

_BODY_GROUPS = {"p": Group.PLAYER, "n": Group.NANA}
_BOUNDS = {
    (letter, field.name[2:]): (field.name, field.low, field.high)
    for letter, group in _BODY_GROUPS.items()
    for field in SCHEMA.group(group)
}
_WHOLE = {"row", "spawn_id", "type", "state", "owner"}
_ITEM_DTYPES = [np.int64 if name in _WHOLE else np.float32 for name in Items._fields]
_STAGE_FIELDS = SCHEMA.group(Group.STAGE)
_BUTTON = {name: melee.Button[f"BUTTON_{name}"] for name in BUTTONS}
_STICKS = {"main": melee.Button.BUTTON_MAIN, "c": melee.Button.BUTTON_C}


def lacking(console: Any, stage: int) -> int:
    """Bits of `absent` for what a console's version of Slippi does not tell of a stage.

    Args:
      console: a `melee.Console` that has seen a game's start.
      stage: external id.
    """
    sizes = {code: size for code, size in enumerate(console.eventsize) if size}
    frozen = bool(getattr(console, "is_frozen_ps", False))
    return absent.bits(GameInfo(stage=stage, players=(), is_frozen_ps=frozen), sizes)


class FrameReader:
    """The schema's columns of one live game, a frame at a time; one instance per game.

    Args:
      ports: the two players', 1 to 4, ascending.
      stage: external id.
      lacks: bits of `absent` (`lacking`).
    """

    def __init__(self, ports: Sequence[int], stage: int, *, lacks: int = 0):
        self.ports, self.stage = tuple(ports), stage
        self._lacks = lacks
        self._stills = [f.name for f in _STAGE_FIELDS if SCHEMA.absent_bit(f) & lacks]
        self._items = ItemTracker([port - 1 for port in ports])
        self._tracker = CharacterTracker()
        self._moving: dict[str, Any] = {}
        self._seen: dict[str, float] | None = None
        self._stage: dict[str, np.ndarray] = {}
        self._last: dict[tuple[str, int], dict[str, float]] = {
            (group, player): {} for group in _BODY_GROUPS for player in range(2)
        }

    @classmethod
    def of(cls, console: Any, state: Any) -> FrameReader:
        """Reads the game whose first state a console has just given.

        Raises: ValueError: if it is not a game of two players on a legal stage.
        """
        ports = sorted(int(port) for port in state.players)
        stage = STAGE_FROM_LIBMELEE.get(int(state.stage.value))
        if len(ports) != 2 or stage is None:
            raise ValueError(
                f"game: want two players on a legal stage. Received: ports {ports}, {state.stage}"
            )
        return cls(ports, stage, lacks=lacking(console, stage))

    def read(self, state: Any) -> dict[str, np.ndarray]:
        """Columns `[*field.shape]` of the next frame, players in port order; not to be written to.

        Args:
          state: the `melee.GameState` that follows the one before.

        Raises: KeyError: if a player's port is not there.
        """
        values = state_values(state, self.ports)
        columns = SCHEMA.zeros()
        columns["frame"][...] = values["frame"]
        columns["absent"][...] = self._lacks
        for player in range(2):
            self._put_body(columns, values, player)
            self._put_controller(columns, values["c"][player], player)
        columns.update(self._items.step(_items(values["items"])))
        columns.update(self._stage_columns(columns["frame"], values["stage"]))
        columns.update(self._tracker.step(columns))
        return columns

    def _put_body(self, columns: dict[str, np.ndarray], values: StateValues, player: int) -> None:
        for group in _BODY_GROUPS:
            body = values[group][player]
            if body is None:
                continue
            last = self._last[group, player]
            for short, number in body.items():
                name, low, high = _BOUNDS[group, short]
                value = float(number)  # numpy's scalars compare five times slower
                if low <= value <= high:
                    last[short] = value
                else:  # a NaN comes here too
                    columns["absent"][...] |= SPOILED
                columns[name][player] = last.get(short, 0)
            if group == "n":
                columns["n.exists"][player] = 1

    def _put_controller(
        self, columns: dict[str, np.ndarray], held: dict[str, Any], player: int
    ) -> None:
        for axis in AXES:
            steps = round((float(held[axis]) - 0.5) * (2 * STICK_STEPS))
            columns[f"c.{axis}"][player] = np.float32(steps) / np.float32(STICK_STEPS)
        steps = round(float(held["shoulder"]) * TRIGGER_STEPS)
        columns["c.shoulder"][player] = np.float32(steps) / np.float32(TRIGGER_STEPS)
        columns["c.buttons"][player] = held["buttons"]

    def _stage_columns(self, frame: np.ndarray, seen: dict[str, float]) -> dict[str, np.ndarray]:
        if seen == self._seen and self.stage != Stage.YOSHIS_STORY:
            return self._stage  # Randall alone moves by the frame's number
        self._seen = seen
        # A transformation stands once it rises; until then the one before does.
        if "phase" in seen and seen["phase"] not in STADIUM_STANDING:
            seen = {}
        self._moving.update({name: v for name, v in seen.items() if name != "phase"})
        self._stage = stage_columns(self.stage, frame, self._moving)
        for name in self._stills:
            self._stage[name][...] = 0
        return self._stage


def _items(entries: list[tuple[float, ...]]) -> Items:
    if not entries:
        return NO_ITEMS
    parts = zip(*[(0, *entry) for entry in entries], strict=True)
    return Items(*(np.array(p, t) for p, t in zip(parts, _ITEM_DTYPES, strict=True)))


class PipeController:
    """Sends controllers to Dolphin through a `melee.Controller`; only what changes is written.

    Analog values arrive as they were trained on: `melee.Controller` turns libmelee's 0…1 into the
    pipe value that the game reads as the wanted step (`fix_analog_inputs`, its default).

    Args:
      controller: a connected `melee.Controller`.
    """

    def __init__(self, controller: Any):
        self._controller = controller
        self._stored: bytes | None = None
        self._state: ControllerState | None = None

    @property
    def port(self) -> int:
        """Of the controller, 1 to 4."""
        return self._controller.port

    def send(self, stored: np.ndarray) -> None:
        """Holds a controller from the next flush on.

        Args:
          stored: uint8 `[ACTION_BYTES]`.

        Raises: OSError: if nobody reads the pipe.
        """
        if stored.tobytes() == self._stored:
            return
        if self._stored is None:
            self._controller.release_all()
            self._state = ControllerState.from_bytes(np.zeros_like(stored))
        wanted = ControllerState.from_bytes(stored)
        self._write(wanted, self._state)
        self._stored, self._state = stored.tobytes(), wanted

    def neutral(self) -> None:
        """Lets go of everything, and forgets what was held: menus press buttons of their own."""
        self._controller.release_all()
        self._stored = self._state = None

    def _write(self, wanted: ControllerState, held: ControllerState | None) -> None:
        assert held is not None
        for place, name in enumerate(BUTTONS):
            if wanted.buttons[place] != held.buttons[place]:
                act = self._controller.press_button
                (act if wanted.buttons[place] else self._controller.release_button)(_BUTTON[name])
        for stick, button in _STICKS.items():
            if (getattr(wanted, stick) != getattr(held, stick)).any():
                x, y = wanted.libmelee_stick(stick).tolist()
                self._controller.tilt_analog(button, x, y)
        if wanted.shoulder != held.shoulder:
            amount = float(wanted.libmelee_shoulder)
            self._controller.press_shoulder(melee.Button.BUTTON_L, amount)
