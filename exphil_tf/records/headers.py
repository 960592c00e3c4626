"""What the small features of a record may be; the input graph and `verify` check the same bounds.

A record out of bounds would silently read past its rows or look up a row of a table that is not
there, so each is named with its shard and reason.
"""

from __future__ import annotations

from typing import NamedTuple

from exphil_tf.features.schema import SCHEMA
from exphil_tf.records.example import NO_WINNER, Header

MAX_PLAYER_ID = 100_000
"""Of any registry (`--max-players`)."""
_MAX_STAGE = 0xFFFF
_CHARACTER = next(field for field in SCHEMA.fields if field.name == "p.character")


class Bounds(NamedTuple):
    """Least and greatest value of each small feature, both included."""

    chunk: int
    """Rows that a record owns; each starts at a multiple of it."""
    n: tuple[int, int]
    perspectives: tuple[int, int]
    player_ids: tuple[int, int]
    characters: tuple[int, int]
    stage: tuple[int, int]
    winner: tuple[int, int]

    def problem(self, header: Header) -> str:
        """What is out of bounds in a record, `want … Received: …`; empty if nothing is."""
        meta = header.meta
        for name, values in (
            ("n", (header.valid,)),
            ("perspectives", (meta.perspectives,)),
            ("player_ids", meta.player_ids),
            ("characters", meta.characters),
            ("stage", (meta.stage,)),
            ("winner", (meta.winner,)),
        ):
            low, high = getattr(self, name)
            for value in values:
                if not low <= value <= high:
                    return f"{name}: want {low} to {high}. Received: {value}"
        if header.start < 0 or header.start % self.chunk:
            return f"start: want a multiple of {self.chunk}. Received: {header.start}"
        return "" if meta.key else "key: want the game's key. Received: nothing"


def bounds(*, chunk: int, overlap: int, players: int = MAX_PLAYER_ID) -> Bounds:
    """The bounds of a dataset.

    Args:
      chunk: frames that a record owns.
      overlap: frames behind those that it repeats.
      players: greatest id of its registry.
    """
    return Bounds(
        chunk=chunk,
        n=(1, chunk + overlap),
        perspectives=(1, 3),
        player_ids=(0, players),
        characters=(int(_CHARACTER.low), int(_CHARACTER.high)),
        stage=(0, _MAX_STAGE),
        winner=(0, NO_WINNER),
    )
