"""Controller pipes, and what the game reads of them."""

from __future__ import annotations

import math
import os
import re
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exphil_tf.melee.controls import (
    STICK_STEPS,
    TRIGGER_DEAD_ZONE,
    TRIGGER_STEPS,
    clamp_stick,
)

MASKS = {
    "A": 0x0100, "B": 0x0200, "X": 0x0400, "Y": 0x0800, "START": 0x1000, "Z": 0x0010, "L": 0x0040,
    "R": 0x0020, "D_LEFT": 0x0001, "D_RIGHT": 0x0002, "D_DOWN": 0x0004, "D_UP": 0x0008,
}  # fmt: skip
_MINIMUM_OF_Z = 0.35


@dataclass
class Pad:
    """What a pipe has set so far."""

    held: set[str] = field(default_factory=set)
    sticks: dict[str, tuple[float, float]] = field(default_factory=dict)
    triggers: dict[str, float] = field(default_factory=dict)

    def apply(self, line: str) -> None:
        """A command but FLUSH."""
        word, *rest = line.split()
        if word == "PRESS":
            self.held.add(rest[0])
        elif word == "RELEASE":
            self.held.discard(rest[0])
        elif word == "SET" and rest[0] in ("MAIN", "C"):
            self.sticks[rest[0]] = (float(rest[1]), float(rest[2]))
        elif word == "SET":
            self.triggers[rest[0]] = float(rest[1])
        else:
            raise ValueError(f"pipe: unknown command {line!r}")

    def raw(self, name: str) -> tuple[int, int]:
        """A stick as the hardware would have it, -127…127."""
        x, y = self.sticks.get(name, (0.5, 0.5))
        return math.floor((x - 0.5) * 254), math.floor((y - 0.5) * 254)

    def stick(self, name: str) -> tuple[float, float]:
        """A stick as the game reads it, -1…1."""
        x, y = clamp_stick(*(np.array(v, float) for v in self.raw(name)))
        return float(x) / STICK_STEPS, float(y) / STICK_STEPS

    def tilt(self, name: str = "MAIN") -> tuple[float, float]:
        """As `stick`, for menus: any tilt counts."""
        x, y = self.raw(name)
        return max(-1.0, min(1.0, x / STICK_STEPS)), max(-1.0, min(1.0, y / STICK_STEPS))

    def trigger(self) -> float:
        """The shoulder as the game reads it."""
        steps = min(TRIGGER_STEPS, math.floor(max([0.0, *self.triggers.values()]) * 255))
        value = steps / TRIGGER_STEPS if steps >= TRIGGER_DEAD_ZONE else 0.0
        if self.held & {"L", "R"}:
            return 1.0
        return max(value, _MINIMUM_OF_Z) if "Z" in self.held else value

    def word(self) -> int:
        """Buttons as the game's 16 bits."""
        return sum(MASKS[name] for name in self.held)


class Pipes:
    """The pipes of a user folder, by port."""

    def __init__(self, folder: Path):
        self.pads: dict[int, Pad] = {}
        self._files: dict[int, int] = {}
        self._rest: dict[int, str] = {}
        self._flushes: dict[int, int] = {}
        self._connected: set[int] = set()
        for path in sorted(folder.glob("slippibot*")):
            port = int(re.sub(r"\D", "", path.name))
            self.pads[port] = Pad()
            self._files[port] = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self._rest[port], self._flushes[port] = "", 0

    def close(self) -> None:
        """Stops reading: whoever writes then has a broken pipe."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def arm(self) -> None:
        """From now on a FLUSH counts."""
        self.drain()
        self._flushes = dict.fromkeys(self._flushes, 0)

    def drain(self) -> None:
        """Reads all there is."""
        for port in list(self._files):
            while data := self._read(port):
                text = self._rest[port] + data
                *lines, self._rest[port] = text.split("\n")
                for line in lines:
                    if line == "FLUSH":
                        self._flushes[port] += 1
                    elif line:
                        self.pads[port].apply(line)

    def _read(self, port: int) -> str:
        try:
            data = os.read(self._files[port], 1 << 16)
        except BlockingIOError:
            self._connected.add(port)
            return ""
        if data:
            self._connected.add(port)
        elif port in self._connected:  # whoever wrote is gone
            os.close(self._files.pop(port))
        return data.decode()

    def wait(self, serve: Callable[[], None]) -> None:
        """Waits for a FLUSH of every pipe since `arm`, serving the network meanwhile."""
        while True:
            self.drain()
            if all(self._flushes[port] for port in self._files):
                return
            select.select(list(self._files.values()), [], [], 0.002)
            serve()
