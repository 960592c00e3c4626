"""One character's frames out of many games, laid end to end, for statistics over pairs of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from exphil_tf.sim.recorded import Recorded

NAMES = (
    "x", "y", "speed_air_x_self", "speed_ground_x_self", "speed_y_self", "speed_x_attack",
    "speed_y_attack", "action", "state_age", "hitlag", "facing", "on_ground", "jumps_left",
    "main_x", "main_y", "l_cancel", "flags", "percent", "shield", "misc", "buttons",
)  # fmt: skip
FAST_FALL = 8
"""Bit of Slippi's second byte of flags."""


@dataclass(frozen=True)
class Sequences:
    """Frames `[rows]` of one character; row i + 1 follows row i where `follows[i]`."""

    columns: dict[str, np.ndarray]
    follows: np.ndarray

    def before(self, name: str) -> np.ndarray:
        """A column of the first frames of all pairs, `[rows - 1]`."""
        return self.columns[name][:-1]

    def after(self, name: str) -> np.ndarray:
        """A column of the second frames."""
        return self.columns[name][1:]

    def change(self, name: str) -> np.ndarray:
        """What a column gains from the first to the second frame."""
        return self.after(name) - self.before(name)

    @property
    def free(self) -> np.ndarray:
        """Bool `[rows - 1]`: pairs in a row that no hit has a part in."""
        calm = np.ones(len(self.follows), bool)
        for name in ("hitlag", "speed_x_attack", "speed_y_attack"):
            calm &= self.columns[name] == 0
        return self.follows[:-1] & calm[:-1] & calm[1:]

    def runs(self, action: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames, next action and last age of each unbroken stay in an action, without hitlag."""
        is_in = self.columns["action"] == action
        joined = is_in[:-1] & is_in[1:] & self.follows[:-1]
        starts = np.flatnonzero(is_in & ~np.append(False, joined))
        ends = np.flatnonzero(is_in & ~np.append(joined, False))
        lag = np.cumsum(self.columns["hitlag"] > 0)
        calm = lag[ends] - lag[starts] + (self.columns["hitlag"][starts] > 0) == 0
        whole = calm & self.follows[ends] & (ends + 1 < len(is_in))
        whole &= np.append(False, self.follows)[starts]
        starts, ends = starts[whole], ends[whole]
        following = self.columns["action"][ends + 1]
        return ends - starts + 1, following, self.columns["state_age"][ends]


def by_character(games: Iterable[Recorded]) -> Iterator[tuple[int, Sequences]]:
    """The frames of players that are not held out, a character at a time."""
    parts: dict[int, list[tuple[Recorded, int]]] = {}
    for game in games:
        for player in (0, 1):
            if not game.held_out[player]:
                for character in np.unique(game["character"][:, player]).tolist():
                    parts.setdefault(character, []).append((game, player))
    for character in sorted(parts):
        yield character, _join(parts[character], character)


def _join(parts: list[tuple[Recorded, int]], character: int) -> Sequences:
    columns: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    follows: list[np.ndarray] = []
    for game, player in parts:
        mine = game["character"][:, player] == character
        for name in NAMES:
            columns[name].append(game[name][:, player][mine])
        rows = np.flatnonzero(mine)
        follows.append(np.append(np.diff(rows) == 1, False))
    joined = {name: np.concatenate(pieces) for name, pieces in columns.items()}
    joined["facing"] = joined["facing"].astype(np.float32) * 2 - 1
    joined["action"] = joined["action"].astype(np.int32)
    return Sequences(joined, np.concatenate(follows))
