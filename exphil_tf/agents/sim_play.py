"""Games in the simulator: the same agents, report and replays as through Dolphin, many at once.

Games share a batch: one call of a policy answers a frame of all of them. They begin with the
countdown, as recorded ones do, so that a policy's memory starts as it did in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exphil_tf.agents.agent import Agent
from exphil_tf.agents.game_record import GameRecord, Report
from exphil_tf.features.field import PLAYERS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.melee.enums import Character, Stage, character_name, stage_name
from exphil_tf.melee.types import FIRST_FRAME, Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays.writer import write_slp
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.observe import observe
from exphil_tf.sim.pads import CONTROLLER_VALUES, from_stored
from exphil_tf.sim.rules.events import NOBODY

AT_ONCE = 16
"""Games of a batch; each keeps up to 15 MB of what happened, for its replay."""
_BY_STOCKS, _BY_TIME = 2, 1
_PER_PLAYER = frozenset(one.name for one in SCHEMA.fields if one.shape == (PLAYERS,))


@dataclass(frozen=True)
class SimMatch:
    """Who plays whom.

    Attributes:
      policy: name of ours.
      opponent: name of theirs, as records have it.
      script: of theirs; "" for an agent.
      characters: ours and theirs.
      port: of ours in the first game, 1 or 2.
    """

    policy: str
    opponent: str
    script: str
    characters: tuple[Character, Character]
    stage: Stage
    games: int
    port: int = 1
    mirrors_ports: bool = False
    seed: int = 0
    replay_dir: Path | None = None

    def own(self, game: int) -> int:
        """Index of our player in a game counted from 0, in port order."""
        turned = self.mirrors_ports and game % 2 == 1
        return (self.port - 1) ^ int(turned)


@dataclass
class _Row:
    """A game in progress."""

    game: int
    own: int
    frames: list[np.void] = field(default_factory=list[np.void])
    damage: np.ndarray = field(default_factory=lambda: np.zeros(PLAYERS))
    self_destructs: np.ndarray = field(default_factory=lambda: np.zeros(PLAYERS, int))


class SimGames:
    """Plays the games of a match.

    Args:
      match: who plays whom.
      agents: ours, and theirs unless a script plays; each of `rows(match.games)` games.
      report: takes the records.
      say: tells the user a line.
    """

    def __init__(
        self,
        match: SimMatch,
        agents: tuple[Agent, Agent | None],
        *,
        report: Report,
        say: Callable[[GameRecord], None],
    ):
        count = rows(match.games)
        self._match, self._agents, self._report, self._say = match, agents, report, say
        self._environment = Environment(
            np.tile([int(one) for one in match.characters], (count, 1)),
            [match.stage] * count,
            first_frame=FIRST_FRAME,
        )
        self._rows: list[_Row | None] = [None] * count
        self._begun = 0
        self._held = np.zeros((count, PLAYERS, CONTROLLER_VALUES), np.float32)

    def run(self) -> None:
        """Plays all of them."""
        self._begin(np.arange(len(self._rows)))
        while any(self._rows):
            self._frame()

    def _begin(self, which: np.ndarray) -> None:
        """The next games, as far as there are some, in rows that are free."""
        match, environment = self._match, self._environment
        left = which[: match.games - self._begun]
        if not len(left):
            return
        for at in left.tolist():
            own = match.own(self._begun)
            self._rows[at] = _Row(self._begun, own)
            pair = match.characters if own == 0 else match.characters[::-1]
            environment.set_players(np.array([at]), np.array([pair]), [match.stage])
            script = (match.script, "") if own else ("", match.script)
            environment.set_scripts(np.array([at]), [script])
            self._begun += 1
        seeds = [_seed(match.seed, row.game) for row in self._rows if row and not row.frames]
        environment.reset(left, np.array(seeds, np.uint64))
        for agent in self._agents:
            if agent is not None:
                agent.reset(left)

    def _frame(self) -> None:
        environment = self._environment
        for row, one in zip(self._rows, environment.world.matches, strict=True):
            if row is not None:
                row.frames.append(one.copy())
        columns, everyone = environment.columns(), np.arange(len(self._rows))
        own = np.array([row.own if row else 0 for row in self._rows])
        for agent, seat in zip(self._agents, (own, 1 - own), strict=True):
            if agent is not None:
                answer = agent.act(_seen(columns, seat)).controller
                self._held[everyone, seat] = from_stored(answer)
        events = environment.step(self._held)
        ended = [at for at, row in enumerate(self._rows) if row and self._note(row, events[at])]
        for at in ended:
            self._finish(at)
        self._begin(np.array(ended, int))

    def _note(self, row: _Row, events: np.void) -> bool:
        row.damage += events["damage"]
        row.self_destructs += events["self_destructs"]
        return bool(events["done"])

    def _finish(self, at: int) -> None:
        row, match = self._rows[at], self._match
        assert row is not None
        self._rows[at] = None
        row.frames.append(self._environment.world.matches[at].copy())
        frames = Frames(observe(np.array(row.frames)))
        replay = self._save(row, frames)
        us, them = row.own, 1 - row.own
        stocks, percents = frames["p.stock"][-1].tolist(), frames["p.percent"][-1].tolist()
        winner = int(self._environment.events["winner"][at])
        record = GameRecord(
            game=len(self._report.records) + 1,
            port=us + 1,
            opponent_port=them + 1,
            opponent=match.opponent,
            policy=match.policy,
            character=character_name(int(match.characters[0])),
            opponent_character=character_name(int(match.characters[1])),
            stage=stage_name(int(match.stage)),
            frames=len(frames),
            stocks=stocks[us],
            opponent_stocks=stocks[them],
            percent=round(percents[us], 2),
            opponent_percent=round(percents[them], 2),
            damage_dealt=round(float(row.damage[us]), 2),
            damage_taken=round(float(row.damage[them]), 2),
            won=None if winner == NOBODY else winner == us,
            stale_frames=0,
            dropped_frames=0,
            missed_frames=0,
            latency=self._agents[0].latency.to_dict(),
            self_destructs=int(row.self_destructs[us]),
            opponent_self_destructs=int(row.self_destructs[them]),
            replay=replay.get("replay", ""),
            replay_sha256=replay.get("replay_sha256", ""),
        )
        self._report.add(record)
        self._say(record)

    def _save(self, row: _Row, frames: Frames) -> dict[str, str]:
        match = self._match
        if match.replay_dir is None:
            return {}
        pair = match.characters if row.own == 0 else match.characters[::-1]
        names = (match.policy, match.opponent) if row.own == 0 else (match.opponent, match.policy)
        by_stocks = not frames["p.stock"][-1].all()
        info = GameInfo(
            stage=int(match.stage),
            players=tuple(
                PlayerInfo(
                    port=port, character=int(pair[port - 1]), name=Path(names[port - 1]).name
                )
                for port in (1, 2)
            ),
            seed=_seed(match.seed, row.game) % 2**32,
            end_method=_BY_STOCKS if by_stocks else _BY_TIME,
        )
        data = write_slp(Game(info, frames))
        path = match.replay_dir / f"sim-{match.seed}-{row.game:04d}.slp"
        match.replay_dir.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, data)
        return {"replay": path.name, "replay_sha256": hashlib.sha256(data).hexdigest()}


def rows(games: int) -> int:
    """Games that are played at once, of so many."""
    return min(games, AT_ONCE)


def _seed(seed: int, game: int) -> int:
    return (seed * 1_000_003 + game) % 2**63


def _seen(columns: Mapping[str, np.ndarray], own: np.ndarray) -> dict[str, np.ndarray]:
    """Columns `[games, …]` as players `own` `[games]` see them: own first."""
    turned = (own == 1)[:, None]
    return {
        name: np.where(turned, column[:, ::-1], column) if name in _PER_PLAYER else column
        for name, column in columns.items()
    }
