"""Stage geometry in game units: ledges, blast zones, platforms, Randall's path."""

# libmelee has no type stubs.
# pyright: reportMissingTypeStubs=false

import functools
from dataclasses import dataclass

import numpy as np

from exphil_tf.melee.enums import Stage


@dataclass(frozen=True)
class StageGeometry:
    """Bounds of a stage, in game units."""

    edge: float
    """|x| of the ground's edge, standing."""
    left: float
    right: float
    top: float
    bottom: float
    """Blast zones."""


GEOMETRY: dict[Stage, StageGeometry] = {
    Stage.BATTLEFIELD: StageGeometry(68.4000015259, -224, 224, 200, -108.8),
    Stage.FINAL_DESTINATION: StageGeometry(85.5656967163, -246, 246, 188, -140),
    Stage.DREAMLAND: StageGeometry(77.2713012695, -255, 255, 250, -123),
    Stage.FOUNTAIN_OF_DREAMS: StageGeometry(63.3475494385, -198.75, 198.75, 202.5, -146.25),
    Stage.POKEMON_STADIUM: StageGeometry(87.75, -230, 230, 180, -111),
    Stage.YOSHIS_STORY: StageGeometry(56.0, -175.7, 173.6, 168, -91),
}
"""As in libmelee's `melee.stages`; a test holds the two together."""

FOD_START_HEIGHTS = (20.0, 28.0)
"""Heights of Fountain of Dreams' left and right platform when a game starts (libmelee
`FoDPlatforms`)."""
STADIUM_NORMAL = 5
"""Pokémon Stadium's untransformed state (libmelee `StadiumTransformationType.NORMAL`)."""
STADIUM_STANDING = (0, 5, 6)
"""Phases in which the transformation that an event names stands on the ground: finished, rising,
final. In the others (1 loading, 2 initialize, 3 on the monitor, 4 the old one recedes) the one
before does: the game removes it when the new one starts to rise. libmelee's
`StadiumTransformationEvent` names the phases."""
RANDALL_PERIOD_FRAMES = 1200


@functools.cache
def _randall_table() -> np.ndarray:
    """float32 `[1200, 2]`: Randall's left x and height per frame of his loop, from libmelee."""
    from melee.stages import randall_position  # slow import, only Yoshi's Story needs it

    table = np.empty((RANDALL_PERIOD_FRAMES, 2), np.float32)
    for frame in range(RANDALL_PERIOD_FRAMES):
        height, left, right = randall_position(frame)
        table[frame] = ((left + right) / 2, height)
    table.setflags(write=False)
    return table


def randall(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Randall's centre x and height, float32 `[…]` each, for frame ids `[…]`.

    Yoshi's Story only.
    """
    table = _randall_table()[np.asarray(frame) % RANDALL_PERIOD_FRAMES]
    return table[..., 0], table[..., 1]
