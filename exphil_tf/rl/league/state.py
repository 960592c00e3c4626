"""What a league is at any moment: one JSON file, written whole after every step.

Standings, matches and what comes next are functions of it, of the options and of the seed, so a
league that was killed goes on as if it had not been.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT
from exphil_tf.rl.league.payoff import Payoff
from exphil_tf.rl.league.ratings import Rating, Strengths, fit
from exphil_tf.training.ppo_config import SCRIPT
from exphil_tf.training.run_files import LEAGUE

FORMAT = 1
"""Raised when an entry changes its name or meaning."""
START = "start"
"""The snapshot that all begin from, and its player."""


@dataclass(frozen=True)
class Snapshot:
    """A policy as it was after a turn, or the one that all begin from."""

    name: str
    player: str
    role: str
    generation: int
    parent: str
    """Snapshot that it went on from; "" for the start."""
    frames: int
    """Learnt from since the start."""
    turns: int
    """Since the start."""
    opponents: tuple[str, ...]
    """Of its turn, as drawn."""
    pairs: tuple[str, ...]
    """Whom it plays counted games against, in order."""
    weights_sha256: str
    joins: bool | None = None
    """Whether others may meet it; None until its games are counted."""


@dataclass(frozen=True)
class Count:
    """Counted games of a pair."""

    one: str
    other: str
    games: int
    wins: float
    did: Mapping[str, float]
    """What the one did in them: sums, by field of `rl.tally.Tally`."""


@dataclass
class State:
    """See the module."""

    seed: int
    anchors: tuple[str, ...]
    """Scripts, with their prefix."""
    snapshots: list[Snapshot] = field(default_factory=list[Snapshot])
    """In the order in which they came."""
    counts: list[Count] = field(default_factory=list[Count])
    format: int = FORMAT

    @property
    def names(self) -> list[str]:
        """Everybody who is rated: anchors, then snapshots."""
        return [*self.anchors, *(snapshot.name for snapshot in self.snapshots)]

    def snapshot(self, name: str) -> Snapshot:
        """By name.

        Raises: KeyError: if there is none.
        """
        for found in self.snapshots:
            if found.name == name:
                return found
        raise KeyError(name)

    def last_of(self, player: str) -> Snapshot | None:
        """The newest snapshot of a player."""
        return next((s for s in reversed(self.snapshots) if s.player == player), None)

    def payoff(self) -> Payoff:
        """All counted games."""
        return Payoff.of((c.one, c.other, c.games, c.wins) for c in self.counts)

    def strengths(self) -> Strengths:
        """Everybody's."""
        return fit(self.names, self.payoff().wins(self.names))

    def ratings(self) -> Mapping[str, Rating]:
        """Everybody's, the anchors' mean being fixed."""
        return self.strengths().ratings(self.anchors)

    def is_counted(self, one: str, other: str) -> bool:
        """Whether the games of a pair are counted."""
        return any({one, other} == {c.one, c.other} for c in self.counts)


def script_names(scripts: Sequence[str]) -> tuple[str, ...]:
    """As opponents are called."""
    return tuple(name if name.startswith(SCRIPT) else SCRIPT + name for name in scripts)


def save(state: State, folder: Path) -> None:
    """Writes the file; at any moment it is either the old one or the new one."""
    atomic.write_json(folder / LEAGUE, dataclasses.asdict(state))


def load(folder: Path) -> State:
    """Reads the file.

    Raises: UserError: if there is none (66), it is damaged (65), or of another format (78).
    """
    path = folder / LEAGUE
    if not path.is_file():
        raise UserError(
            f"{path}: no such file",
            "Give the folder of a league: python -m exphil_tf.league run.",
            exit_code=EXIT_NO_INPUT,
        )
    try:
        values: Any = atomic.read_json(path)
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT and isinstance(found, int):
            raise UserError(
                f"{path}: a league of format {found}; this release reads {FORMAT}",
                "Go on with it by the release that it was begun with.",
                exit_code=EXIT_INCOMPATIBLE,
            )
        return pydantic.TypeAdapter(State).validate_python(values)
    except (ValueError, TypeError) as error:  # a ValidationError is a ValueError
        raise UserError(
            f"{path}: damaged: {error!s:.200}", "Put back a copy of it.", exit_code=EXIT_DATA
        ) from error
