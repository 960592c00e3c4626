"""How a player plays, out of its frames: whether it approaches, and what it makes of a hit.

A string of hits goes on until the opponent was out of hitstun for `RESET` frames or lost a stock,
and is a conversion if it has two hits or takes a stock: the definitions of Slippi's statistics
(slippi-js, `conversions`). Percent that rises in hitlag counts once, as it rises once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exphil_tf.rewards.terms import OPPONENT, OWN
from exphil_tf.rl.tally import Tally

RESET = 45
"""Frames out of hitstun that end a string."""
APPROACH = 0.3
"""Units a frame: slower is no approach."""


class Behaviour:
    """Counts it in several matches.

    Args:
      matches: how many.
    """

    def __init__(self, matches: int):
        self._free = np.full(matches, RESET)
        self._hits = np.zeros(matches, np.int64)

    def begin(self, matches: np.ndarray) -> None:
        """New games begin.

        Args:
          matches: bool `[matches]`.
        """
        self._free[matches], self._hits[matches] = RESET, 0

    def see(
        self,
        tally: Tally,
        before: Mapping[str, np.ndarray],
        after: Mapping[str, np.ndarray],
        *,
        counts: np.ndarray,
    ) -> None:
        """Adds a frame.

        Args:
          tally: gets the sums.
          before: columns `[matches, own/opponent]` of the frame before: `p.x`, `p.hitstun`,
            `p.percent`, `p.stock`.
          after: of this frame.
          counts: bool `[matches]`, which count.
        """
        tally.approaching += int((_approaches(before, after) & counts).sum())
        takes = before["p.stock"][:, OPPONENT] > after["p.stock"][:, OPPONENT]
        is_hit = after["p.percent"][:, OPPONENT] > before["p.percent"][:, OPPONENT]
        opens = is_hit & (self._free >= RESET)
        self._hits[opens] = 0
        self._hits += is_hit
        is_stunned = after["p.hitstun"][:, OPPONENT] > 0
        in_string = opens | (self._free < RESET)
        converts = (is_hit & (self._hits == 2)) | (takes & in_string & (self._hits == 1))
        self._free = np.where(is_hit | is_stunned, 0, self._free + 1)
        self._free[takes] = RESET
        tally.openings += int((opens & counts).sum())
        tally.hits += int((is_hit & counts).sum())
        tally.conversions += int((converts & counts).sum())


def _approaches(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> np.ndarray:
    """Bool `[matches]`: the own player moves towards the opponent, and is not thrown there."""
    x = before["p.x"]
    moved = after["p.x"][:, OWN] - x[:, OWN]
    towards = np.sign(x[:, OPPONENT] - x[:, OWN]) * moved
    return (towards > APPROACH) & (after["p.hitstun"][:, OWN] == 0)
