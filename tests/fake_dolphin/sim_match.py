"""A match in the simulator as Slippi events: the pads play. Slow to import, and to compile."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exphil_tf.melee.enums import BUTTONS, Stage
from exphil_tf.melee.types import FIRST_FRAME, Frames, GameInfo, PlayerInfo
from exphil_tf.replays import events, ubjson
from exphil_tf.replays.writer import frame_events, game_end, opening
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.pads import neutral
from fake_dolphin.menus import Match
from fake_dolphin.pads import Pad


class SimMatch:
    """A closed loop in the simulator: pads play against a script, and hit and are hit.

    Args:
      match: what the menus say.
      ports: the players', ascending.
      frames: at most so many; it ends before, once somebody has no stock left.
    """

    def __init__(self, match: Match, ports: list[int], frames: int):
        characters = [int(match.characters[port]) for port in ports]
        self.info = GameInfo(
            stage=int(match.stage),
            players=tuple(
                PlayerInfo(port=port, character=character, is_cpu=port in match.levels,
                           cpu_level=match.levels.get(port, 0))
                for port, character in zip(ports, characters, strict=True)
            ),
            end_method=2,
        )  # fmt: skip
        self._ports, self._free = ports, set(ports) - set(match.levels)
        self._environment = Environment(
            np.array([characters]),
            [match.stage],
            scripts=[("aggressor", "aggressor")],
            first_frame=FIRST_FRAME,
        )
        self._frames = frames
        self._last: Frames | None = None
        self.raw = [opening(self.info)]

    @property
    def opening(self) -> bytes:
        """The payload table and the Game Start event."""
        return self.raw[0]

    def __len__(self) -> int:
        return self._frames

    @property
    def is_over(self) -> bool:
        """Whether somebody has lost."""
        return bool(self._environment.events["done"][0])

    def frame(self, index: int, pads: Mapping[int, Pad]) -> bytes:
        """A frame's events, under what pads and script hold."""
        if index:
            held = [port in pads and port in self._free for port in self._ports]
            names = tuple("" if is_held else "aggressor" for is_held in held)
            self._environment.set_scripts(np.arange(1), [(names[0], names[1])])
            inputs = neutral(1)
            for place, port in enumerate(self._ports):
                if held[place]:
                    _take(inputs[0, place], pads[port])
            self._environment.step_pads(inputs)
        self._last = Frames(self._environment.columns())
        joined = frame_events(self.info, self._last)
        self.raw.append(joined)
        return joined

    def end(self) -> bytes:
        """The Game End event."""
        assert self._last is not None
        self.raw.append(game_end(self.info, self._last))
        return self.raw[-1]

    def file(self) -> bytes:
        """The `.slp` of what was played."""
        metadata = {"startAt": "2000-01-01T00:00:00Z", "playedOn": "dolphin"}
        return events.container(b"".join(self.raw), ubjson.write_object(metadata))


def compile_simulator() -> None:
    """Whatever a match's first frame needs: seconds from the cache, a minute without."""
    environment = Environment(np.zeros((1, 2), int), [Stage.BATTLEFIELD])
    environment.step_pads(environment.pads)


def _take(held: np.void, pad: Pad) -> None:
    held["stick_x"], held["stick_y"] = pad.stick("MAIN")
    held["c_x"], held["c_y"] = pad.stick("C")
    held["trigger"] = pad.trigger()
    held["buttons"] = sum(1 << bit for bit, name in enumerate(BUTTONS) if name in pad.held)
