"""What is kept of games that were played: a line each, and totals with intervals."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exphil_tf.foundation import atomic
from exphil_tf.melee.enums import character_name, stage_name

_Z_95 = 1.959963984540054
GAMES, SUMMARY = "games.jsonl", "summary.json"
_MOST_PERCENT_A_FRAME = 200.0
"""More is no hit: a new stock starts at 0, which is no damage either."""


def wilson(wins: float, games: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); (0, 1) without games."""
    if games <= 0:
        return 0.0, 1.0
    share, z2 = wins / games, _Z_95**2
    centre = share + z2 / (2 * games)
    spread = _Z_95 * math.sqrt(share * (1 - share) / games + z2 / (4 * games**2))
    return (
        max(0.0, (centre - spread) / (1 + z2 / games)),
        min(1.0, (centre + spread) / (1 + z2 / games)),
    )


@dataclass(frozen=True)
class GameRecord:
    """One game. Players are ours and theirs; `port` tells which is which."""

    game: int
    port: int
    opponent_port: int
    opponent: str
    """`human`, `cpu1` … `cpu9`, or the other policy."""
    policy: str
    character: str
    opponent_character: str
    stage: str
    frames: int
    stocks: int
    opponent_stocks: int
    percent: float
    opponent_percent: float
    damage_dealt: float
    damage_taken: float
    won: bool | None
    """None if it was broken off with nothing between the players."""
    stale_frames: int
    dropped_frames: int
    missed_frames: int
    latency: Mapping[str, Any]
    """Of what the agent takes a frame, over the session so far."""
    self_destructs: int | None = None
    """Stocks that we lost with no hit since we left the ground; None where nobody counts them."""
    opponent_self_destructs: int | None = None
    replay: str = ""
    replay_sha256: str = ""
    frame_time: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """From a state to the inputs in the pipes, since Dolphin's last start."""


@dataclass
class GameTally:
    """What happened in a game so far, from its frames."""

    own: int
    """Index of our player in port order."""
    frames: int = 0
    missed: int = 0
    began_s: float = field(default_factory=time.time)
    stocks: tuple[int, int] = (0, 0)
    percents: tuple[float, float] = (0.0, 0.0)
    characters: tuple[int, int] = (0, 0)
    damage: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Taken by each player, in port order."""

    def see(self, columns: Mapping[str, np.ndarray], *, missed: int = 0) -> None:
        """Counts a frame, players in port order, and frames that did not come before it."""
        percents = columns["p.percent"].tolist()
        if not self.frames:
            self.characters = tuple(columns["p.character"].tolist())
        for player, (now, before) in enumerate(zip(percents, self.percents, strict=True)):
            self.damage[player] += now - before if 0 < now - before < _MOST_PERCENT_A_FRAME else 0
        self.percents = (percents[0], percents[1])
        self.stocks = tuple(columns["p.stock"].tolist())
        self.frames += 1
        self.missed += missed

    @property
    def won(self) -> bool | None:
        """Whether we did: by stocks, then by percent; None if both are equal."""
        us, them = self.own, 1 - self.own
        ours, theirs = ((self.stocks[p], -self.percents[p]) for p in (us, them))
        return None if ours == theirs else ours > theirs

    def facts(self, stage: int) -> dict[str, Any]:
        """What of a `GameRecord` follows from the frames."""
        us, them = self.own, 1 - self.own
        return {
            "character": character_name(self.characters[us]),
            "opponent_character": character_name(self.characters[them]),
            "stage": stage_name(stage),
            "frames": self.frames,
            "missed_frames": self.missed,
            "stocks": int(self.stocks[us]),
            "opponent_stocks": int(self.stocks[them]),
            "percent": round(float(self.percents[us]), 2),
            "opponent_percent": round(float(self.percents[them]), 2),
            "damage_dealt": round(self.damage[them], 2),
            "damage_taken": round(self.damage[us], 2),
            "won": self.won,
        }


def totals(records: Sequence[GameRecord]) -> dict[str, Any]:
    """Wins with their interval, per character pair and stage too; stocks and damage a minute."""
    groups: dict[str, list[GameRecord]] = {}
    for record in records:
        name = f"{record.character} vs {record.opponent_character} on {record.stage}"
        groups.setdefault(name, []).append(record)
    minutes = sum(record.frames for record in records) / 3600
    return {
        **_share(records),
        "minutes": round(minutes, 3),
        "net_stocks_per_minute": _per(sum(r.stocks - r.opponent_stocks for r in records), minutes),
        "net_damage_per_minute": _per(
            sum(r.damage_dealt - r.damage_taken for r in records), minutes
        ),
        "damage_per_minute": _per(sum(r.damage_dealt for r in records), minutes),
        **_self_destructs(records),
        "matchups": {name: _share(group) for name, group in sorted(groups.items())},
    }


def _self_destructs(records: Sequence[GameRecord]) -> dict[str, Any]:
    known = [r.self_destructs for r in records if r.self_destructs is not None]
    return {"self_destructs_per_game": _per(sum(known), len(known))} if known else {}


def _share(records: Sequence[GameRecord]) -> dict[str, Any]:
    decided = [record for record in records if record.won is not None]
    wins = sum(bool(record.won) for record in decided)
    low, high = wilson(wins, len(decided))
    return {
        "games": len(records),
        "decided": len(decided),
        "wins": wins,
        "win_rate": round(wins / len(decided), 4) if decided else None,
        "win_rate_95": [round(low, 4), round(high, 4)],
    }


def _per(amount: float, count: float) -> float | None:
    return round(amount / count, 3) if count else None


class Report:
    """Writes records as they come, and totals beside them.

    Args:
      folder: of the report; None writes nothing. Lines of an earlier session stay and count.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self.records: list[GameRecord] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._read(folder / GAMES)

    def add(self, record: GameRecord) -> None:
        """Keeps a record."""
        self.records.append(record)
        if self._folder is None:
            return
        with (self._folder / GAMES).open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        atomic.write_json(self._folder / SUMMARY, totals(self.records))

    def _read(self, path: Path) -> None:
        if path.is_file():
            lines = path.read_text().splitlines()
            self.records = [GameRecord(**json.loads(line)) for line in lines if line]
