"""The menus on the way to a match, driven by pads: a model of what libmelee's helper expects."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exphil_tf.melee.enums import Character, Stage
from fake_dolphin.pads import Pad

MAIN, CSS, SSS = 0x0001, 0x0002, 0x0102
_MAIN_SUBMENU, _VS_SUBMENU = 0, 2
_ICONS = (
    "DOC", "MARIO", "LUIGI", "BOWSER", "PEACH", "YOSHI", "DK", "CPTFALCON", "GANONDORF",
    "FALCO", "FOX", "NESS", "POPO", "KIRBY", "SAMUS", "ZELDA", "LINK", "YLINK",
    "PICHU", "PIKACHU", "JIGGLYPUFF", "MEWTWO", "GAMEANDWATCH", "MARTH", "ROY",
)  # fmt: skip
"""By icon, left to right and top to bottom."""
_STAGES = {
    Stage.BATTLEFIELD: (1, -9), Stage.FINAL_DESTINATION: (6.7, -9), Stage.DREAMLAND: (12.5, -9),
    Stage.POKEMON_STADIUM: (15, 3.5), Stage.YOSHIS_STORY: (3.5, 15.5),
    Stage.FOUNTAIN_OF_DREAMS: (10, 15.5),
}  # fmt: skip
_SPEED = 0.93
_LOADING_FRAMES = 12
_HUMAN, _CPU, _NOBODY = 0, 1, 3
_SLIDER_FRAMES = 4


@dataclass
class Seat:
    """A port at the character select screen."""

    status: int = _NOBODY
    x: float = 0.0
    y: float = 0.0
    icon: int = 0
    coin_down: bool = False
    level: int = 1
    holds_slider: bool = False


@dataclass
class Match:
    """What the menus have led to."""

    characters: dict[int, Character]
    levels: dict[int, int]
    """Of CPUs, by port."""
    stage: Stage


@dataclass
class Menus:
    """The menus' state.

    Args:
      ports: with a pipe.
      human_ports: where somebody has already chosen.
    """

    ports: Iterable[int]
    human_ports: Iterable[int] = ()
    scene: int = MAIN
    frame: int = 0
    submenu: int = _MAIN_SUBMENU
    selection: int = 0
    cursor: tuple[float, float] = (0.0, 0.0)
    chosen: Stage | None = None
    seats: dict[int, Seat] = field(default_factory=dict)
    _before: dict[int, set[str]] = field(default_factory=dict)
    _was_down: bool = False

    def __post_init__(self) -> None:
        for port in range(1, 5):
            self.seats[port] = Seat(x=-30 + 15 * (port - 1), y=0.2)
        for port in self.ports:
            self.seats[port].status = _HUMAN
        for port in self.human_ports:
            self.seats[port] = Seat(_HUMAN, icon=_ICONS.index("FOX"), coin_down=True)

    def back(self) -> None:
        """To the character select screen, as after a match; what was chosen stays."""
        self._go(CSS)

    def step(self, pads: Mapping[int, Pad]) -> Match | None:
        """A frame under the pads; the match, once one begins."""
        self.frame += 1
        pressed = {port: pad.held - self._before.get(port, set()) for port, pad in pads.items()}
        self._before = {port: set(pad.held) for port, pad in pads.items()}
        if self.scene == MAIN:
            self._main(pads, pressed)
        elif self.scene == CSS:
            self._choose(pads, pressed)
        else:
            return self._stage(pads, pressed)
        return None

    def _go(self, scene: int) -> None:
        self.scene, self.frame, self.chosen, self.cursor = scene, -1, None, (0.0, 0.0)

    def _main(self, pads: Mapping[int, Pad], pressed: Mapping[int, set[str]]) -> None:
        is_down = any(pad.tilt()[1] < -0.5 for pad in pads.values())
        if is_down and not self._was_down:
            self.selection += 1
        self._was_down = is_down
        if any("A" in names for names in pressed.values()):
            if (self.submenu, self.selection) == (_MAIN_SUBMENU, 1):
                self.submenu, self.selection = _VS_SUBMENU, 0
            elif (self.submenu, self.selection) == (_VS_SUBMENU, 0):
                self._go(CSS)

    def _choose(self, pads: Mapping[int, Pad], pressed: Mapping[int, set[str]]) -> None:
        for port, pad in pads.items():
            seat, (x, y) = self.seats[port], pad.tilt()
            if seat.holds_slider:
                if abs(x) > 0.1 and self.frame % _SLIDER_FRAMES == 0:
                    seat.level = max(1, min(9, seat.level + (1 if x > 0 else -1)))
            else:
                seat.x, seat.y = seat.x + _SPEED * x, seat.y + _SPEED * y
            self._press(port, seat, pressed[port])
        if self.is_ready and any("START" in names for names in pressed.values()):
            self._go(SSS)

    def _press(self, port: int, seat: Seat, names: set[str]) -> None:
        over = _icon(seat.x, seat.y)
        if not seat.coin_down and over is not None:
            seat.icon = over
        if "B" in names:
            seat.coin_down = False
        if "A" not in names:
            return
        if seat.holds_slider:
            seat.holds_slider = False
        elif not seat.coin_down and over is not None:
            seat.coin_down = True
        elif _near(seat, -32.2 + 15.82 * (port - 1), -2.2):
            seat.status = _CPU if seat.status == _HUMAN else _HUMAN
        elif seat.status == _CPU and _near(seat, -30.9 + 15.4 * (port - 1), -15.12):
            seat.holds_slider = True

    @property
    def is_ready(self) -> bool:
        """Whether a match may start."""
        seated = [seat for seat in self.seats.values() if seat.status != _NOBODY]
        free = not any(seat.holds_slider for seat in seated)
        return free and len(seated) >= 2 and all(seat.coin_down for seat in seated)

    def _stage(self, pads: Mapping[int, Pad], pressed: Mapping[int, set[str]]) -> Match | None:
        if self.chosen is None:
            x, y = self.cursor
            for pad in pads.values():
                x, y = x + _SPEED * pad.tilt()[0], y + _SPEED * pad.tilt()[1]
            self.cursor = x, y
            if any("A" in names for names in pressed.values()):
                distance, stage = min(
                    (abs(x - a) + abs(y - b), stage) for stage, (a, b) in _STAGES.items()
                )
                if distance < 4:
                    self.chosen, self.frame = stage, 1
            return None
        if self.frame < _LOADING_FRAMES:
            return None
        return Match(
            {port: self._character(port, pads) for port in self.occupied},
            {port: s.level for port, s in self.seats.items() if s.status == _CPU},
            self.chosen,
        )

    @property
    def occupied(self) -> list[int]:
        """Ports that play."""
        return [port for port, seat in self.seats.items() if seat.status != _NOBODY]

    def _character(self, port: int, pads: Mapping[int, Pad]) -> Character:
        character = Character[_ICONS[self.seats[port].icon]]
        if character is Character.ZELDA and port in pads and "A" in pads[port].held:
            return Character.SHEIK  # A held while the stage loads
        return character

    def event(self) -> bytes:
        """The Menu Event, 74 bytes."""
        block = bytearray(74)
        block[0] = 0x3E
        struct.pack_into(">H", block, 1, self.scene)
        for index, seat in enumerate(self.seats[port] for port in range(1, 5)):
            struct.pack_into(">ff", block, 3 + 8 * index, seat.x, seat.y)
            block[0x25 + index], block[0x29 + index] = seat.status, seat.icon
            block[0x2D + index] = 2 if seat.coin_down else 0
            block[0x41 + index], block[0x45 + index] = seat.level, seat.holds_slider
        block[0x23] = 0 if self.is_ready else 1
        struct.pack_into(">ffi", block, 0x31, *self.cursor, self.frame)
        block[0x3D], block[0x3E] = self.submenu, self.selection
        return bytes(block)


def _icon(x: float, y: float) -> int | None:
    for icon in range(len(_ICONS)):
        row, column = divmod(icon, 9)
        column += row == 2  # the random slot
        if max(abs(x - (-29 + 7 * column)), abs(y - (4.5 + 7 * (2 - row)))) < 3.4:
            return icon
    return None


def _near(seat: Seat, x: float, y: float) -> bool:
    return max(abs(seat.x - x), abs(seat.y - y)) < 2
