"""How much a game has to teach, as a score from 0 to 100.

Five components, as ExPhil's users know them: length 25, damage 20, activity 20, self-destructs 15,
action diversity 20. Four of the original's errors are corrected: a resting stick is not activity
(deflection counts, not the raw value), a computer player is known from the game's start block, a
self-destruct is a stock lost without having been hit (not one lost at low percent), and a long game
is marked down instead of thrown away.

Where a component looks at a player, the worse of the two decides: a game against somebody who went
away teaches little. Everything is counted from "GO!" on, except the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from exphil_tf.melee.controls import AXES
from exphil_tf.melee.types import GO_FRAME, Frames, Game

_DEFLECTION = 0.3
"""Stick deflection from which on it counts as an input."""
_DEAD_ACTIONS = 11
"""Action states below this are deaths (DEAD_DOWN … DEAD_FLY_SPLATTER_FLAT_ICE)."""
_STICKS = tuple(f"c.{axis}" for axis in AXES)


@dataclass(frozen=True)
class QualityConfig:
    """Limits of the score."""

    quality_min_frames: int = 1000
    """Games shorter than this score 0."""
    quality_max_frames: int = 28_800 + 123
    """Games longer than this score 0; the default is a full eight minutes."""
    self_destruct_window_frames: int = 120
    """A stock lost without a hit in this many frames before is a self-destruct."""

    def __post_init__(self) -> None:
        """Refuses limits that cross."""
        if not 0 < self.quality_min_frames <= self.quality_max_frames:
            raise ValueError(
                "want 0 < quality_min_frames ≤ quality_max_frames. Received: "
                f"{self.quality_min_frames}, {self.quality_max_frames}"
            )


class Quality(NamedTuple):
    """A score and what it is made of.

    Attributes:
      length, damage, activity, self_destructs, diversity: points of the five components.
      failure: why the game scores 0 whatever its components are: `short`, `long`, `cpu`,
        `no_damage`; empty if it does not.
    """

    length: float
    damage: float
    activity: float
    self_destructs: float
    diversity: float
    failure: str = ""

    @property
    def score(self) -> float:
        """0 to 100."""
        return 0.0 if self.failure else round(sum(self[:5]), 6)

    @property
    def label(self) -> str:
        """`excellent` from 80, `good` from 60 (the usual minimum), `fair` from 40, else `poor`."""
        names = ((80, "excellent"), (60, "good"), (40, "fair"))
        return next((name for least, name in names if self.score >= least), "poor")


def assess(game: Game, config: QualityConfig = QualityConfig()) -> Quality:  # frozen
    """Scores a parsed game of two players."""
    frames, count = game.frames, len(game.frames)
    live = frames.slice(int(np.searchsorted(frames["frame"], GO_FRAME)), count)
    taken = damage_taken(live["p.percent"])
    lost, destroyed = stocks_lost(live, config.self_destruct_window_frames)
    rate = float((destroyed / np.maximum(lost, 1)).max())
    distinct = min(len(np.unique(live["p.action"][:, player])) for player in (0, 1))
    return Quality(
        length=25 * _length_share(count),
        # Dealt and taken of both players are the same two numbers, so the minimum over players of
        # max(dealt, taken) is the larger of them.
        damage=20 * _share(float(taken.max()), (100, 1.0), (20, 0.5), (1e-9, 0.2)),
        activity=20 * _share(float(activity(live).min()), (0.25, 1.0), (0.10, 0.6)),
        self_destructs=15 * _share(-rate, (-0.05, 1.0), (-0.15, 0.5)),
        diversity=20 * _share(distinct, (50, 1.0), (30, 0.7), (15, 0.4)),
        failure=_failure(game, taken, config),
    )


def _failure(game: Game, taken: np.ndarray, config: QualityConfig) -> str:
    tests = (
        (len(game.frames) < config.quality_min_frames, "short"),
        (len(game.frames) > config.quality_max_frames, "long"),
        (any(player.is_cpu for player in game.info.players), "cpu"),
        (not taken.any(), "no_damage"),
    )
    return next((name for fails, name in tests if fails), "")


def _share(value: float, *steps: tuple[float, float]) -> float:
    """Share of a component: that of the first step whose least value is reached, else 0."""
    return next((share for least, share in steps if value >= least), 0.0)


def _length_share(num_frames: int) -> float:
    """Full from 3,000 to 8,000 frames, .8 up to 15,000, .6 beyond and below."""
    if 3000 <= num_frames <= 8000:
        return 1.0
    return 0.8 if 8000 < num_frames <= 15_000 else 0.6


def damage_taken(percent: np.ndarray) -> np.ndarray:
    """float64 `[players]`: sum of all rises of percent, float32 `[time, players]`."""
    return np.maximum(np.diff(percent.astype(np.float64), axis=0), 0).sum(0)


def activity(frames: Frames) -> np.ndarray:
    """float64 `[players]`: share of frames with a stick beyond 0.3 on an axis or a button down."""
    sticks = np.stack([np.abs(frames[name]) > _DEFLECTION for name in _STICKS]).any(0)
    return (sticks | (frames["c.buttons"] != 0)).mean(0) if len(frames) else np.zeros(2)


def stocks_lost(frames: Frames, window_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Stocks lost, and how many of these were self-destructs, int64 `[players]` each.

    A self-destruct is a stock lost with neither hitstun nor a rise of percent in the
    `window_frames` before the player died (dying takes a while when it is upwards).
    """
    lost, destroyed = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for player in (0, 1):
        stock = frames["p.stock"][:, player].astype(np.int64)
        hit = frames["p.hitstun"][:, player] > 0
        hit[1:] |= np.diff(frames["p.percent"][:, player]) > 0
        is_alive = frames["p.action"][:, player] >= _DEAD_ACTIONS
        for at in np.flatnonzero(np.diff(stock) < 0) + 1:
            alive = np.flatnonzero(is_alive[:at])
            died = int(alive[-1]) + 1 if len(alive) else at
            lost[player] += 1
            destroyed[player] += not hit[max(0, died - window_frames) : died].any()
    return lost, destroyed
