"""Hits in recorded games: who was hit by which action, how hard, and what the record says of it.

A hit is a frame on which a player's percent rises while the other one's last attack is known. The
queue that makes repeated moves weaker (nine moves long, a step of 1 % each, 9 % for the latest) is
followed from the game's beginning, so the damage of a fresh move is the recorded one without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.flights import action_starts, shot_hits, shot_uses
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.knockback import BOUNCE, STUN
from exphil_tf.sim.rules.staling import FIRST_THROW, LAST_THROW, NO_MOVE

STALES = np.arange(9, 0, -1) / 100
"""What each of the last nine moves that were the same takes off."""
LAUNCH_PER_KNOCKBACK = 0.03
THROWS = (219, 222)
_SAME = 2e-3


@dataclass(frozen=True)
class Events:
    """Hits `[rows]` as columns.

    Attributes:
      columns: `attacker`, `victim` (characters), `action`, `age` (of the attacker on the frame),
        `move` (Slippi's id), `damage` (fresh), `dealt`, `percent` (before), `knockback`,
        `angle` (degrees, away from the attacker is 0), `hitstun`, `hitlag`, `own_hitlag`,
        `grounded` (before), `before` and `after` (victim's actions), `moving` (knockback before),
        `dx`, `dy` (victim from attacker, before the step: forwards, up), `in_place` (places and
        speeds let the hitbox be told), `held_out` (of the attacker).
    """

    columns: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        """A column."""
        return self.columns[name]

    def __len__(self) -> int:
        """Hits."""
        return len(self.columns["age"])

    def where(self, mask: np.ndarray) -> Events:
        """Those of a mask."""
        return Events({name: column[mask] for name, column in self.columns.items()})


def hit_events(games: Iterable[Recorded]) -> Events:
    """All hits of some games."""
    rows: list[dict[str, float]] = []
    for game in games:
        for victim in (0, 1):
            rows += of_player(game, victim)
    names = list(rows[0]) if rows else []
    return Events({name: np.array([row[name] for row in rows]) for name in names})


def begins(game: Recorded, victim: int) -> np.ndarray:
    """Frames on which a player is hit: not those on which being far away costs a percent."""
    rises = np.diff(game["percent"][:, victim]) > 1e-4
    action = game["action"][1:, victim]
    felt = (game["hitlag"][1:, victim] > 0) | are_held(action)
    launch = np.hypot(game["speed_x_attack"][:, victim], game["speed_y_attack"][:, victim])
    felt |= np.diff(launch) > 0.06
    felt |= shot_hits(game, victim)[1:]  # Fox's lasers are not felt
    return np.flatnonzero(rises & felt) + 1


def are_held(action: np.ndarray) -> np.ndarray:
    """`exphil_tf.sim.rules.grabs.is_held`, of arrays."""
    held = (action >= act.HELD_FIRST) & (action <= act.HELD_LAST)
    return held | (action >= act.THROWN_F) & (action <= act.THROWN_LOW)


class StaleQueue:
    """The last nine moves that hit; each use of a move counts once."""

    def __init__(self) -> None:
        self._moves: list[int] = []
        self._last: tuple[int, int] | None = None
        self._first = 1.0

    def push(self, move: int, use: int) -> tuple[float, float]:
        """Adds a move; a second hit of the same use adds nothing.

        Returns: the share of its damage that it has left, and that of the use's first hit.
        """
        factor = 1 - sum(s for s, one in zip(STALES, self._moves, strict=False) if one == move)
        if (move, use) != self._last:
            self._first = factor
            self._last = move, use
            if move > NO_MOVE:
                self._moves = [move, *self._moves][: len(STALES)]
        return factor, self._first


def of_player(game: Recorded, victim: int) -> Iterator[dict[str, float]]:
    """Hits that a player takes in a game, as rows of `Events`."""
    attacker, queue, before = 1 - victim, StaleQueue(), 0
    starts, shot_use = action_starts(game, attacker), shot_uses(game, victim)
    for frame in begins(game, victim).tolist():
        stocks = game["stock"][before : frame + 1, attacker]
        if stocks.min() != stocks.max():
            queue = StaleQueue()
        move = int(game["last_attack"][frame, attacker])
        row = _row(game, frame, victim)
        # Projectiles are of the use that they left in, but those of a throw are the throw's.
        own = shot_use[frame] > 0 and not FIRST_THROW <= move <= LAST_THROW
        use = -int(shot_use[frame]) if own else int(starts[frame - (row["traded"] > 0)])
        row["damage"] = _fresh(float(row["dealt"]), *queue.push(move, use))
        before = frame
        yield row


def _fresh(dealt: float, factor: float, first: float) -> float:
    """Damage without staleness; a throw's release is as stale as its first part."""
    damage, other = dealt / factor, dealt / first
    return other if abs(damage - round(damage)) > _SAME > abs(other - round(other)) else damage


def _bounces(knockback: float, hitstun: float) -> bool:
    """Whether a launch is that of a spike off the ground: as hitstun says, of greater knockback."""
    stun = np.floor(STUN * np.array([knockback, knockback / BOUNCE]) + 1e-3)
    return stun[0] < stun[1] == hitstun


def _row(game: Recorded, frame: int, victim: int) -> dict[str, float]:
    a, v = 1 - victim, victim
    action, before = int(game["action"][frame, a]), int(game["action"][frame - 1, a])
    hurt = act.DAMAGE_FIRST <= action <= act.DAMAGE_LAST
    traded = hurt and not act.DAMAGE_FIRST <= before <= act.DAMAGE_LAST
    age = game["state_age"][frame, a] if not traded else game["state_age"][frame - 1, a] + 1
    facing = 1 if game["facing"][frame - traded, a] else -1
    kx, ky = game["speed_x_attack"][frame, v], game["speed_y_attack"][frame, v]
    dx, dy = game["x"][frame, v] - game["x"][frame, a], game["y"][frame, v] - game["y"][frame, a]
    away = 1 if dx >= 0 else -1
    earlier = frame - 1
    knockback = float(np.hypot(kx, ky) / LAUNCH_PER_KNOCKBACK)
    if _bounces(knockback, float(game["misc"][frame, v])) and game["on_ground"][earlier, v]:
        knockback, ky = knockback / BOUNCE, -ky
    return {
        "attacker": int(game["character"][frame, a]), "victim": int(game["character"][frame, v]),
        "action": before if traded else action, "age": float(age), "traded": float(traded),
        "move": int(game["last_attack"][frame, a]), "damage": 0.0,
        "dealt": float(game["percent"][frame, v] - game["percent"][earlier, v]),
        "percent": float(game["percent"][earlier, v]),
        "knockback": knockback,
        "angle": float(np.degrees(np.arctan2(ky, kx * away)) % 360),
        "hitstun": float(game["misc"][frame, v]), "hitlag": float(game["hitlag"][frame, v]),
        "own_hitlag": float(game["hitlag"][frame, a]),
        "grounded": int(game["on_ground"][earlier, v]), "stays": int(game["on_ground"][frame, v]),
        "before": int(game["action"][earlier, v]), "after": int(game["action"][frame, v]),
        "moving": float(np.hypot(game["speed_x_attack"][earlier, v],
                                 game["speed_y_attack"][earlier, v])),
        "dx": float(dx * facing), "dy": float(dy), "away": float(away * facing),
        "held_out": int(game.held_out[a]), "frame": frame,
    }  # fmt: skip
