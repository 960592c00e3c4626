"""Several policies on the same frames of the same games, whatever their forms.

Whole games are played teacher-forced, from an empty memory, as in play. Every policy is asked about
the same human inputs, also where their delays differ: those of the frames from GO on. Games are
read in groups, so memory is bounded; of each game only sums stay.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exphil_tf.evaluation.baselines import BaselineFit
from exphil_tf.evaluation.compared_policy import ComparedPolicy
from exphil_tf.evaluation.episodes import (
    GameBatch,
    Perspective,
    batch_games,
    game_key,
    sample_of,
)
from exphil_tf.evaluation.metrics import Accumulator
from exphil_tf.evaluation.results import Measured
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.melee.enums import character_name, stage_name

if TYPE_CHECKING:
    from exphil_tf.evaluation.policy_runners import Runner

SHOWN_BASELINES = ("repeat", "markov")
"""Guesses that stand beside the policies."""
_GROUP = 4
"""Perspectives of a group, in multiples of the rows that advance together."""
_VIEW = "view"
"""Column of a perspective's number in its group, which no policy reads."""


@dataclass(frozen=True)
class GameNats:
    """What a game cost each policy, both of its perspectives together."""

    key: str
    """The game's, as the dataset's `games.jsonl` has it."""
    characters: tuple[str, str]
    stage: str
    frames: int
    nats: dict[str, float]
    """Per frame of the whole action, by policy."""

    @property
    def difference(self) -> float:
        """Between the policy that it cost most and the one that it cost least."""
        return max(self.nats.values()) - min(self.nats.values())


@dataclass(frozen=True)
class SideBySide:
    """Several policies on the same frames."""

    policies: dict[str, Measured]
    """By name, as they were asked for."""
    baselines: dict[str, Measured]
    """Of `SHOWN_BASELINES`, fitted on the train split with the first policy's buckets."""
    games: list[GameNats]
    """Those on which the policies differ most come first."""

    @property
    def everything(self) -> dict[str, Measured]:
        """Policies and baselines, the likeliest first."""
        both = self.policies | self.baselines
        return dict(sorted(both.items(), key=lambda item: item[1].metrics.nll))


@dataclass(frozen=True)
class Reading:
    """How games are read.

    Raises: ValueError: naming what is out of range.
    """

    rows: int
    """Perspectives side by side."""
    steps: int
    """Frames that a policy reads in one go."""
    max_frames: int = 0
    """No further game is begun once so many are read; 0 reads all."""


def side_by_side(
    policies: Sequence[ComparedPolicy],
    games: Iterable[Perspective],
    *,
    fit: BaselineFit,
    reading: Reading,
    on_frames: Callable[[int], None] = lambda _: None,
) -> SideBySide:
    """Measures policies.

    Args:
      policies: of different names.
      games: perspectives, those of a game side by side.
      fit: guesses, of the first policy's buckets.
      reading: how games are read.
      on_frames: told the frames that were read so far, by all.

    Raises: ValueError: if no frame counts, or a policy answers with what is no number.
    """
    guesses = {n: b for n, b in fit.baselines().items() if n in SHOWN_BASELINES}
    sums = {policy.name: _PolicySums(policy) for policy in policies}
    first = policies[0].codec
    guessed = {name: Accumulator(first.sizes) for name in guesses}
    listed = _GameList()
    frames = 0
    for group in _groups(games, reading):
        listed.add(group)
        for policy in policies:
            listed.add_nats(policy.name, sums[policy.name].add(group, reading))
        batch = batch_games(group, first, rows=reading.rows)
        sample = sample_of(batch, first)
        for name, baseline in guesses.items():
            guessed[name].add(baseline.logits_fn(sample), sample)
        frames += sum(len(one.actions) for one in group)
        on_frames(frames)
    return SideBySide(
        {p.name: Measured(p.facts, sums[p.name].metrics.result()) for p in policies},
        {n: Measured({"form": "baseline"}, sums.result()) for n, sums in guessed.items()},
        listed.result(),
    )


def fit_guesses(
    games: Iterable[Perspective], codec: ControllerCodec, *, max_frames: int = 0
) -> BaselineFit:
    """Counts the actions of games to fit baselines on.

    Args:
      games: of the train split.
      codec: of the policy that they will stand beside.
      max_frames: stop after the game that reaches it; 0 reads all.
    """
    fit = BaselineFit(codec.sizes)
    for game in games:
        fit.add(sample_of(batch_games([game], codec, rows=1), codec))
        if max_frames and fit.frames >= max_frames:
            break
    return fit


def answers(
    policy: ComparedPolicy, games: Sequence[Perspective], *, runner: Runner, reading: Reading
) -> Iterator[tuple[GameBatch, slice, np.ndarray]]:
    """A policy's logits on some games, segment by segment: games in rows, their steps, the logits.

    Rows are filled up to the same number, so that a network is compiled once.
    """
    told = [policy.told(game) for game in games]
    options = {"delay": policy.delay, "rows": reading.rows, "multiple": reading.steps}
    batch = batch_games(told, policy.codec, **options)
    filled = _filled_up(batch, reading.rows)
    for place, segment in enumerate(runner.run(filled, steps=reading.steps)):
        span = slice(place * reading.steps, (place + 1) * reading.steps)
        yield batch, span, segment.logits[: batch.num_rows]


class _PolicySums:
    """Sums of one policy."""

    def __init__(self, policy: ComparedPolicy):
        self._policy, self._runner = policy, policy.make_runner()
        self.metrics = Accumulator(policy.codec.sizes)

    def _answers(
        self, group: Sequence[Perspective], reading: Reading
    ) -> Iterator[tuple[GameBatch, slice, np.ndarray]]:
        return answers(self._policy, group, runner=self._runner, reading=reading)

    def add(self, group: Sequence[Perspective], reading: Reading) -> np.ndarray:
        """Plays some games; float64 `[2, perspectives]`: counted frames and nats of each."""
        sizes = self._policy.codec.sizes
        stops = np.cumsum(list(sizes.values()))[:-1]
        total = np.zeros((2, len(group)))
        for batch, span, logits in self._answers(group, reading):
            sample = sample_of(batch, self._policy.codec, span)
            parts = dict(zip(sizes, np.split(logits, stops, axis=-1), strict=True))
            nll = self.metrics.add(sample.pick(parts), sample)
            view = batch.columns[_VIEW][:, span][sample.counted]
            total[0] += np.bincount(view, minlength=len(group))
            total[1] += np.bincount(view, nll.sum(0), len(group))
        return total


class _GameList:
    """What is known of each game, and what it cost whom."""

    def __init__(self) -> None:
        self._facts: dict[bytes, tuple[tuple[str, str], str]] = {}
        self._sums: dict[bytes, dict[str, np.ndarray]] = {}
        self._group: list[bytes] = []

    def add(self, group: Sequence[Perspective]) -> None:
        """Takes in the games of a group."""
        self._group = [perspective.game for perspective in group]
        for perspective in group:
            if perspective.game not in self._facts:
                self._facts[perspective.game] = _facts(perspective)
                self._sums[perspective.game] = {}

    def add_nats(self, policy: str, sums: np.ndarray) -> None:
        """Adds what a policy's perspectives of the last group came to, as of `_PolicySums.add`."""
        for game, column in zip(self._group, sums.T, strict=True):
            mine = self._sums[game]
            mine[policy] = mine.get(policy, np.zeros(2)) + column

    def result(self) -> list[GameNats]:
        """Every game with a counted frame, the greatest difference first."""
        found = []
        for key, sums in self._sums.items():
            frames = int(next(iter(sums.values()))[0])
            if frames:
                nats = {name: float(total[1] / total[0]) for name, total in sums.items()}
                characters, stage = self._facts[key]
                found.append(GameNats(game_key(key), characters, stage, frames, nats))
        return sorted(found, key=lambda game: (-game.difference, game.key))


def _facts(perspective: Perspective) -> tuple[tuple[str, str], str]:
    # In port order, whoever's perspective it is; of Zelda and Sheik whoever it began as.
    own, other = (character_name(int(c)) for c in perspective.columns["p.character"][0])
    pair = (own, other) if perspective.player == 0 else (other, own)
    return pair, stage_name(int(perspective.columns["s.stage"][0]))


def _groups(games: Iterable[Perspective], reading: Reading) -> Iterator[list[Perspective]]:
    """Games in groups, each perspective numbered in its own, up to the game that is the last."""
    kept = _until(games, reading.max_frames)
    while group := list(itertools.islice(kept, reading.rows * _GROUP)):
        yield [
            one._replace(columns={**one.columns, _VIEW: np.full(len(one.actions), place)})
            for place, one in enumerate(group)
        ]


def _until(games: Iterable[Perspective], max_frames: int) -> Iterator[Perspective]:
    """Whole games, both perspectives of each, until so many frames are there."""
    frames, last = 0, b""
    for one in games:
        if max_frames and frames >= max_frames and one.game != last:
            return
        frames, last = frames + len(one.actions), one.game
        yield one


def _filled_up(batch: GameBatch, rows: int) -> GameBatch:
    """The batch with rows of zeros behind it, which do not count."""

    def filled(array: np.ndarray) -> np.ndarray:
        missing = rows - len(array)
        return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array

    return dataclasses.replace(
        batch,
        columns={name: filled(column) for name, column in batch.columns.items()},
        targets={name: filled(target) for name, target in batch.targets.items()},
        is_resetting=filled(batch.is_resetting),
        counted=filled(batch.counted),
    )
