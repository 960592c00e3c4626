"""A registry of players as a file: ids that stay, from one dataset and one run to the next.

A dataset numbers its players by their games, so another dataset numbers them otherwise. A network
knows a player by a number for good: a registry keeps those that were given, and gives the next ones
to players who are new. It holds pseudonyms, like everything that is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_INCOMPATIBLE
from exphil_tf.replays.players import UNKNOWN, KnownPlayers

_VERSION = 3
"""Version 1 was ExPhil's: a list of names in the clear and a hash for the unknown."""


@dataclass(frozen=True)
class PlayerRegistry:
    """Players with ids that stay."""

    known: KnownPlayers
    games: Mapping[str, int] = field(default_factory=dict[str, int])
    """Pseudonym → games that the player had when the id was given."""

    def extended(self, games: Mapping[str, int], *, min_games: int, places: int) -> PlayerRegistry:
        """With the players of a dataset who are new, those with most games first.

        Args:
          games: pseudonym → games, in the dataset.
          min_games: players with fewer stay unknown, if they are new.
          places: greatest id; who comes behind it stays unknown.
        """
        ids = dict(self.known.ids)
        new = [(n, name) for name, n in games.items() if n >= min_games and name not in ids]
        first = max(ids.values(), default=UNKNOWN) + 1
        numbers = range(first, places + 1)
        added = [name for _, name in sorted(new, key=lambda one: (-one[0], one[1]))][: len(numbers)]
        if not added:
            return self
        ids |= dict(zip(added, numbers, strict=False))
        counts = {name: games[name] for name in added}
        return PlayerRegistry(KnownPlayers(ids, self.known.key), {**self.games, **counts})

    def to_json(self) -> str:
        """As a JSON text, in the order of the ids; the same registry gives the same bytes."""
        ranked = sorted(self.known.ids.items(), key=lambda one: one[1])
        players = [
            {"id": number, "player": name, "games": self.games.get(name, 0)}
            for name, number in ranked
        ]
        content = {"version": _VERSION, "key": self.known.key, "players": players}
        return json.dumps(content, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Writes the file whole; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, self.to_json().encode())


def load(path: Path) -> PlayerRegistry:
    """Reads a registry.

    Raises: UserError: if the file is none (65), of another version (78) or cannot be read (65).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if version == _VERSION:
            players = content["players"]
            ids = {str(one["player"]): one["id"] for one in players}
            if len(ids) != len(players):
                raise ValueError("a player stands in it twice")
            games = {str(one["player"]): int(one["games"]) for one in players}
            return PlayerRegistry(KnownPlayers(ids, str(content["key"])), games)
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise UserError(
            f"{path}: not a player registry: {error!s:.200}",
            "Give another file; one that is not there is made.",
            exit_code=EXIT_DATA,
        ) from error
    raise UserError(
        f"{path}: want a player registry of version {_VERSION}. Received: {version!r:.40}",
        "Make a new one: name a file that is not there.",
        exit_code=EXIT_INCOMPATIBLE,
    )
