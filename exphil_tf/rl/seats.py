"""Who sits where: which matches and players a policy or a script plays, and who learns of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.field import PLAYERS
from exphil_tf.features.schema import SCHEMA
from models.layers.embedding_layout import InputLayout


@dataclass(frozen=True)
class Seats:
    """Some players of some matches, in a fixed order: the rows of whoever plays them."""

    match: np.ndarray
    """int `[rows]`."""
    player: np.ndarray
    """int `[rows]`, 0 for the lower port."""

    @classmethod
    def of(cls, pairs: list[tuple[int, int]]) -> Seats:
        """Of pairs of match and player."""
        match, player = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls(match, player)

    def __len__(self) -> int:
        """Rows."""
        return len(self.match)

    def own_first(self, column: np.ndarray) -> np.ndarray:
        """A column of players `[time, matches, players]` as the rows see it, `[time, rows, 2]`."""
        both = column[:, self.match]
        return np.where((self.player == 0)[:, None], both, both[..., ::-1])


class BothSides:
    """What a network reads of a frame, from both sides of each match.

    Columns are laid side by side once; the other perspective is a permutation of what lies there,
    as players lie beside each other.

    Args:
      layout: the network's (`FrameEmbedding.inputs`).
    """

    def __init__(self, layout: InputLayout):
        self._layout = layout
        self._numbers = _orders(layout.numbers, layout.num_numbers)
        self._ids = _orders(layout.ids, layout.num_ids)
        self._untold = [name for name in CONDITIONS if name in layout.ids]

    def of(self, columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers float32 and ids int32 `[matches, players, …]`; of conditions nothing is told.

        Args:
          columns: `[matches, …]`, players in port order.
        """
        nothing = np.zeros_like(columns["frame"])
        told = {**columns, **dict.fromkeys(self._untold, nothing)}
        numbers, ids = self._layout.join(told, np)
        return numbers[:, self._numbers], ids[:, self._ids]


def _orders(places: Mapping[str, slice], width: int) -> np.ndarray:
    """Int `[players, width]`: from where each place takes its value."""
    own = np.arange(width)
    other = own.copy()
    for name, place in places.items():
        if name in SCHEMA.names and SCHEMA.field(name).shape == (PLAYERS,):
            other[place] = own[place][::-1]
    return np.stack([own, other])
