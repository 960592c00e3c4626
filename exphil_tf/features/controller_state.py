"""A controller as its holder and the game know it: buttons, sticks and shoulder on the game's grid.

Three units are in use, all exact for what the game can read:

* *steps*, whole numbers: a stick axis -80…80, the shoulder 0…140 (`melee.controls`). What records
  store, one byte each, and what libmelee calls raw.
* *values*: sticks -1…1, shoulder 0…1, buttons 0/1: the schema's `c.*` columns, and what a codec
  decodes to.
* libmelee's: sticks 0…1 with 0.5 in the middle, shoulder 0…1 for both L and R. `tilt_analog` and
  `press_shoulder` take them (with `fix_analog_inputs`, the default) and its game states show them.

The game itself reads a clicked L or R as a full shoulder and Z as at least 0.35, so a shoulder that
was read need not have been pressed that far; pressing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exphil_tf.features.controller import ControllerCodec, to_bytes
from exphil_tf.features.packing import ACTION_BYTES, CONTROLLER_FIELDS, from_stored
from exphil_tf.melee.controls import AXES, STICK_STEPS, TRIGGER_STEPS
from exphil_tf.melee.enums import BUTTONS

_NAMES = tuple(field.name[2:] for field in CONTROLLER_FIELDS)
_STICKS = {"main": AXES[:2], "c": AXES[2:]}


@dataclass(frozen=True)
class ControllerState:
    """What is held, with any leading axes `[…]`: none, `[games]` or `[time]`."""

    buttons: np.ndarray
    """bool `[…, 8]`, in the order of `BUTTONS`."""
    main: np.ndarray
    """int8 `[…, 2]`: main stick right and up, -80…80."""
    c: np.ndarray
    """int8 `[…, 2]`: C-stick."""
    shoulder: np.ndarray
    """uint8 `[…]`: 0…140."""

    @classmethod
    def from_bytes(cls, stored: np.ndarray) -> ControllerState:
        """Of stored controller bytes uint8 `[…, ACTION_BYTES]`.

        Raises: ValueError: if they are no such array.
        """
        stored = np.asarray(stored)
        if stored.dtype != np.uint8 or stored.shape[-1:] != (ACTION_BYTES,):
            raise ValueError(
                f"controller: want uint8 […, {ACTION_BYTES}]. "
                f"Received: {stored.dtype} {list(stored.shape)}"
            )
        by_name = {name: stored[..., index] for index, name in enumerate(_NAMES)}
        bits = by_name["buttons"][..., None] >> np.arange(len(BUTTONS), dtype=np.uint8)
        sticks = {
            stick: np.stack([by_name[axis] for axis in axes], -1).view(np.int8)
            for stick, axes in _STICKS.items()
        }
        return cls(bits & 1 != 0, sticks["main"], sticks["c"], by_name["shoulder"])

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ControllerState:
        """Of values as `ControllerCodec.decode` gives them, rounded to the game's grid."""
        return cls.from_bytes(to_bytes(dict(values)))

    @classmethod
    def from_buckets(cls, buckets: Mapping[str, Any], codec: ControllerCodec) -> ControllerState:
        """Of a policy's choice, as the game reads it."""
        return cls.from_values(codec.decode(dict(buckets)))

    @classmethod
    def from_libmelee(
        cls, buttons: Mapping[str, Any], main: Any, c: Any, *, shoulder: Any
    ) -> ControllerState:
        """Of what a libmelee game state shows of a controller.

        Args:
          buttons: name as in `BUTTONS` → bool `[…]`; other names are passed over.
          main: `main_stick`, `[…, 2]`, 0 to 1.
          c: `c_stick`, alike.
          shoulder: `l_shoulder`, `[…]`, 0 to 1.
        """
        held = np.stack([np.asarray(buttons[name], bool) for name in BUTTONS], -1)
        steps = np.rint(np.asarray(shoulder, np.float64) * TRIGGER_STEPS).astype(np.uint8)
        return cls(held, _steps(main), _steps(c), steps)

    def to_bytes(self) -> np.ndarray:
        """Stored controller bytes uint8 `[…, ACTION_BYTES]`, what `DelayQueue` takes."""
        by_name = {
            axis: getattr(self, stick)[..., index].astype(np.int8).view(np.uint8)
            for stick, axes in _STICKS.items()
            for index, axis in enumerate(axes)
        }
        by_name["shoulder"] = self.shoulder
        by_name["buttons"] = np.packbits(self.buttons, axis=-1, bitorder="little")[..., 0]
        return np.stack([by_name[name] for name in _NAMES], axis=-1).astype(np.uint8)

    def values(self) -> dict[str, np.ndarray]:
        """Buttons float32 `[…, 8]`, axes and shoulder float32 `[…]`: a policy's previous action."""
        columns = self.columns()
        rest = {name: columns[f"c.{name}"] for name in (*AXES, "shoulder")}
        return {"buttons": self.buttons.astype(np.float32), **rest}

    def columns(self) -> dict[str, np.ndarray]:
        """The schema's `c.*` columns of one player, `[…]`."""
        stored = self.to_bytes()
        columns: dict[str, np.ndarray] = {}
        for index, field in enumerate(CONTROLLER_FIELDS):
            steps = stored[..., index]
            is_signed = field.name[2:] in AXES
            columns[field.name] = from_stored(steps.view(np.int8) if is_signed else steps, field)
        return columns

    def buckets(self, codec: ControllerCodec) -> dict[str, np.ndarray]:
        """The nearest choice of a codec, int32."""
        return codec.encode(self.to_bytes())

    def libmelee_stick(self, stick: str) -> np.ndarray:
        """float64 `[…, 2]`: `main` or `c` in libmelee's 0 to 1."""
        return getattr(self, stick) / (2 * STICK_STEPS) + 0.5

    @property
    def libmelee_shoulder(self) -> np.ndarray:
        """float64 `[…]`: the shoulder in libmelee's 0 to 1."""
        return self.shoulder / TRIGGER_STEPS

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the buttons that are down, of a single controller."""
        return tuple(
            name for name, down in zip(BUTTONS, self.buttons.tolist(), strict=True) if down
        )


def _steps(stick: Any) -> np.ndarray:
    """int8 `[…, 2]`: a stick of libmelee's 0 to 1 in steps."""
    return np.rint((np.asarray(stick, np.float64) - 0.5) * 2 * STICK_STEPS).astype(np.int8)
