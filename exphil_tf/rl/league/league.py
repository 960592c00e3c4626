"""A league's course: turns of learning, and the games that are counted behind each.

    anchors meet -> a player's turn -> its snapshot meets the others -> it joins the past, or not
    -> the next player's turn -> ... -> a fresh exploiter's turn against the last main agent

Players take turns, as two cores do not feed several learners at once. Everything here is a function
of the state, the options and the seed; who learns and who plays is `Work`, so that tests need no
network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from exphil_tf.rl.league.matchmaking import ROLES, Rival, Role, draw_opponents
from exphil_tf.rl.league.state import START, Count, Snapshot, State
from exphil_tf.rl.tally import Tally
from exphil_tf.training.league_config import LeagueOptions
from exphil_tf.training.ppo_config import SELF

FRESH = "fresh-exploiter"
"""Player and role of those who tell how exploitable a main agent is."""
BEATS = 0.7
"""Share of games that an exploiter must win to join the past at once (AlphaStar's)."""
_RESETS = 0.25
"""How often a league exploiter that joined begins anew (AlphaStar's)."""


@dataclass(frozen=True)
class Player:
    """Somebody who takes turns."""

    name: str
    role: Role


@dataclass(frozen=True)
class Turn:
    """What is to be learnt next."""

    name: str
    """Of the snapshot that it leads to."""
    player: str
    role: str
    generation: int
    parent: str
    """Snapshot to begin from."""
    opponents: tuple[str, ...]
    seed: int
    timesteps: int | None = None
    """Frames; None for a turn's usual length."""


@dataclass(frozen=True)
class Learnt:
    """What a turn led to."""

    frames: int
    weights_sha256: str


class Work(Protocol):
    """What a league has others do; names are those of snapshots and scripts."""

    def learn(self, turn: Turn) -> Learnt | None:
        """Trains, keeps the snapshot; None if it was interrupted."""
        ...

    def count(self, one: str, other: str, *, seed: int) -> Tally:
        """Plays games to count; what the one did."""
        ...

    def tell(self, text: str) -> None:
        """Says a line."""
        ...


def players(options: LeagueOptions) -> list[Player]:
    """Everybody who takes turns, in order."""
    counts = (options.main_agents, options.main_exploiters, options.league_exploiters)
    return [
        Player(f"{role.replace('_', '-')}{place}", role)
        for role, count in zip(ROLES, counts, strict=True)
        for place in range(1, count + 1)
    ]


class League:
    """Goes on with a league until it is done.

    Args:
      state: is changed.
      options: see `LeagueOptions`.
      slots: opponents of a turn at most.
      save: keeps the state, whole; called after every change.
    """

    def __init__(
        self, state: State, options: LeagueOptions, *, slots: int, save: Callable[[State], None]
    ):
        self.state, self.options = state, options
        self._slots, self._save = min(slots, options.matchups), save

    def run(self, work: Work) -> bool:
        """All that is left to do; False if it was interrupted."""
        while True:
            self.count_pending(work)
            turn = self.next_turn()
            if turn is None:
                return True
            work.tell(f"{turn.name}: from {turn.parent}, against {_listed(turn.opponents)}")
            learnt = work.learn(turn)
            if learnt is None:
                return False
            self.state.snapshots.append(self._snapshot(turn, learnt))
            self._save(self.state)

    # -- Games -------------------------------------------------------------------------------------

    def pending(self) -> Iterator[tuple[str, str]]:
        """Pairs whose games are to be counted, in order."""
        state, anchors = self.state, self.state.anchors
        pairs = [(a, b) for i, a in enumerate(anchors) for b in anchors[:i]]
        pairs += [(s.name, other) for s in state.snapshots for other in s.pairs]
        return (pair for pair in pairs if not state.is_counted(*pair))

    def count_pending(self, work: Work) -> None:
        """Counts the games of all pairs that are left, and lets snapshots join."""
        for one, other in list(self.pending()):
            tally = work.count(one, other, seed=self._seed(3, _index(self.state, one, other)))
            self.state.counts.append(Count(one, other, tally.games, tally.wins, tally.sums()))
            self._save(self.state)
        for at, snapshot in enumerate(self.state.snapshots):
            if snapshot.joins is None:
                self.state.snapshots[at] = replace(snapshot, joins=self._joins(snapshot))
                self._save(self.state)

    def _joins(self, snapshot: Snapshot) -> bool:
        """Whether others may meet it from now on."""
        if snapshot.role in ("main", START):
            return True
        if snapshot.role == FRESH:
            return False
        since, at = 1, self.state.snapshot(snapshot.parent)
        while at.parent and not at.joins:
            since, at = since + 1, self.state.snapshot(at.parent)
        return since >= self.options.exploiter_turns or self._beats(snapshot)

    def _beats(self, snapshot: Snapshot) -> bool:
        """Whether it wins against all main agents, or for a league exploiter all it has met."""
        payoff, mains = self.state.payoff(), {s.name for s in self._newest_mains()}
        met = [n for n in snapshot.pairs if n in mains or snapshot.role == "league_exploiter"]
        scores = [payoff.score(snapshot.name, name) for name in met]
        return bool(scores) and all(s.wins >= BEATS * s.games for s in scores)

    # -- Turns -------------------------------------------------------------------------------------

    def next_turn(self) -> Turn | None:
        """What is to be learnt next; None if the league is done."""
        state, everybody = self.state, players(self.options)
        done = sum(s.role in ROLES for s in state.snapshots)
        if done >= self.options.generations * len(everybody):
            return self._exploit()
        player = everybody[done % len(everybody)]
        generation = done // len(everybody) + 1
        rng = np.random.Generator(np.random.PCG64([state.seed, 1, done]))
        parent = self._parent(player, rng)
        opponents = draw_opponents(
            player.name,
            player.role,
            rivals=self.rivals(),
            win_rate=self._win_rate(parent),
            count=self._slots,
            rng=rng,
        )
        return Turn(
            f"{player.name}-{generation:03d}",
            player.name,
            player.role,
            generation,
            parent,
            opponents,
            self._seed(1, done),
        )

    def rivals(self) -> list[Rival]:
        """Everybody who can be met: anchors, and snapshots that joined."""
        newest = {s.player: s.name for s in self.state.snapshots if s.joins}
        scripts = [Rival(name, name, "script") for name in self.state.anchors]
        return scripts + [
            Rival(s.name, s.player, s.role, is_newest=newest[s.player] == s.name)
            for s in self.state.snapshots
            if s.joins
        ]

    def _parent(self, player: Player, rng: np.random.Generator) -> str:
        """Snapshot that a player's turn begins from: exploiters that joined are reset."""
        last = self.state.last_of(player.name)
        if last is None:
            return START
        is_reset = last.joins and (
            player.role == "main_exploiter"
            or (player.role == "league_exploiter" and rng.random() < _RESETS)
        )
        return START if is_reset else last.name

    def _win_rate(self, name: str) -> Callable[[str], float]:
        """Of a snapshot: counted, with one more game as ratings expect it."""
        payoff, strengths = self.state.payoff(), self.state.strengths()

        def of(other: str) -> float:
            score = payoff.score(name, other)
            return (score.wins + strengths.expected(name, other)) / (score.games + 1)

        return of

    def _exploit(self) -> Turn | None:
        """A fresh exploiter against the first main agent as it is; None if it was there."""
        target, timesteps = self.main(), self.options.exploit_timesteps
        name = f"{FRESH}-{target.generation:03d}"
        if timesteps is not None:
            name += f"-{timesteps}"
        if timesteps == 0 or any(s.name == name for s in self.state.snapshots):
            return None
        return Turn(
            name,
            FRESH,
            FRESH,
            target.generation,
            START,
            (target.name,),
            self._seed(2, target.generation),
            timesteps,
        )

    def main(self) -> Snapshot:
        """The first main agent as it is."""
        return self._newest_mains()[0]

    def _newest_mains(self) -> list[Snapshot]:
        names = [p.name for p in players(self.options) if p.role == "main"]
        return [found for name in names if (found := self.state.last_of(name))]

    def _snapshot(self, turn: Turn, learnt: Learnt) -> Snapshot:
        parent = self.state.snapshot(turn.parent)
        return Snapshot(
            turn.name,
            turn.player,
            turn.role,
            turn.generation,
            parent=turn.parent,
            frames=parent.frames + learnt.frames,
            turns=parent.turns + 1,
            opponents=turn.opponents,
            pairs=self._pairs(turn),
            weights_sha256=learnt.weights_sha256,
        )

    def _pairs(self, turn: Turn) -> tuple[str, ...]:
        """Whom a new snapshot meets to be rated, without doubles.

        Anchors, the start, its parent, everybody's newest, whom it learnt against, and of the
        others those with the fewest games.
        """
        if turn.role == FRESH:
            return turn.opponents
        state = self.state
        newest = [found.name for p in players(self.options) if (found := state.last_of(p.name))]
        chosen = dict.fromkeys([*state.anchors, START, turn.parent, *newest])
        chosen |= dict.fromkeys(name for name in turn.opponents if name != SELF)
        payoff = state.payoff()
        others = [s.name for s in state.snapshots if s.joins and s.name not in chosen]
        others.sort(key=lambda name: (payoff.games_of(name), name))
        return (*chosen, *others[: self.options.rated_pairs])

    def _seed(self, *place: int) -> int:
        rng = np.random.Generator(np.random.PCG64([self.state.seed, *place]))
        return int(rng.integers(2**31))


def first_state(*, seed: int, anchors: tuple[str, ...], weights_sha256: str) -> State:
    """A league before anybody has learnt: the start, and the anchors that it meets."""
    start = Snapshot(
        START,
        START,
        START,
        generation=0,
        parent="",
        frames=0,
        turns=0,
        opponents=(),
        pairs=anchors,
        weights_sha256=weights_sha256,
    )
    return State(seed, anchors, [start])


@dataclass(frozen=True)
class Exploited:
    """How a fresh exploiter did against a main agent."""

    by: str
    target: str
    frames: int
    games: int
    wins: float


def exploitability(state: State) -> list[Exploited]:
    """Of each main agent that a fresh exploiter was set on, in order."""
    payoff = state.payoff()
    found = [(s, s.opponents[0]) for s in state.snapshots if s.role == FRESH]
    scores = [(s, target, payoff.score(s.name, target)) for s, target in found]
    return [Exploited(s.name, to, s.frames, of.games, of.wins) for s, to, of in scores]


def _index(state: State, one: str, other: str) -> int:
    """A number of a pair that stays as it is while others join."""
    names = state.names
    low, high = sorted((names.index(one), names.index(other)))
    return high * (high - 1) // 2 + low


def _listed(names: tuple[str, ...]) -> str:
    counted = {name: names.count(name) for name in names}
    return ", ".join(name if n == 1 else f"{name} ({n})" for name, n in counted.items())
