"""The environment in the words of Gymnasium and PettingZoo, for any library that learns by playing.

    environments = MeleeVectorEnv(256, opponent="script:spacer")
    observations, infos = environments.reset(seed=0)
    observations, rewards, ended, cut, infos = environments.step(environments.action_space.sample())

An observation is one player's view as raw numbers and ids: every column of the schema, floats and
whole numbers apart (`LAYOUT`). An action is a controller: eight buttons, both sticks, the shoulder.
Rewards are those of `exphil_tf.rewards`: stocks and damage, zero-sum. Needs the extra `gym`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from pettingzoo import ParallelEnv

from exphil_tf.features.field import PLAYERS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import BUTTONS, Character, Stage
from exphil_tf.melee.types import TIME_LIMIT_FRAMES
from exphil_tf.rewards.terms import WEIGHTS, reward
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.observe import STARTS, Layout
from exphil_tf.sim.opponents import script_name
from exphil_tf.sim.pads import CONTROLLER_VALUES

AGENTS = ("player_0", "player_1")
_STICKS = 4
_READ = ("p.stock", "p.percent")


def _layout() -> Layout:
    places: tuple[dict[str, slice], dict[str, slice]] = ({}, {})
    stops = [0, 0]
    for field in SCHEMA.fields:
        kind = int(field.dtype != "float32")
        start = stops[kind]
        stops[kind] = start + int(np.prod(field.shape, dtype=int))
        places[kind][field.name] = slice(start, stops[kind])
    return Layout(*places)


LAYOUT = _layout()
"""Where each column of the schema lies in `numbers` and `ids`, own player first."""


def action_space() -> spaces.Dict:
    """Of one player: what a hand does."""
    return spaces.Dict(
        buttons=spaces.MultiBinary(len(BUTTONS)),
        sticks=spaces.Box(-1, 1, (_STICKS,), np.float32),
        shoulder=spaces.Box(0, 1, (1,), np.float32),
    )


def observation_space() -> spaces.Dict:
    """Of one player: `numbers` and `ids` as `LAYOUT` places them, within the schema's bounds."""
    bounds = [np.array([_bounds(kind, side) for side in (0, 1)], object) for kind in LAYOUT]
    return spaces.Dict(
        numbers=spaces.Box(*(b.astype(np.float32) for b in bounds[0]), dtype=np.float32),
        ids=spaces.Box(*(b.astype(np.int32) for b in bounds[1]), dtype=np.int32),
    )


def _bounds(places: Mapping[str, slice], side: int) -> list[float]:
    found: list[float] = []
    for name, place in places.items():
        field = SCHEMA.field(name)
        found += [(field.low, field.high)[side]] * (place.stop - place.start)
    return found


class MeleeVectorEnv(VectorEnv):
    """Matches of one learner, player 0, against a script, or against whoever is handed in.

    Args:
      num_envs: matches.
      opponent: `script:NAME`.
      characters: the learner's and the opponent's.
      stages: played in turns.
      limit_frames: frames after which a match is cut off.
      weights: of the reward's terms.
      threads: that step the matches.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        opponent: str = "script:aggressor",
        characters: tuple[Character, Character] = (Character.FOX, Character.MARTH),
        stages: Sequence[Stage] = tuple(Stage),
        limit_frames: int = TIME_LIMIT_FRAMES,
        weights: Mapping[str, float] = WEIGHTS,
        threads: int = 1,
    ) -> None:
        name = script_name(opponent)
        if name is None:
            raise ValueError(f"opponent: want script:NAME. Received: {opponent!r:.40}")
        self.num_envs = num_envs
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        batch = gymnasium.vector.utils.batch_space
        self.observation_space = batch(self.single_observation_space, num_envs)
        self.action_space = batch(self.single_action_space, num_envs)
        self._core = _core(
            num_envs, characters, stages, scripts=("", name), limit_frames=limit_frames,
            threads=threads,
        )  # fmt: skip
        self._weights = weights
        self._ended = np.zeros(num_envs, bool)
        self._held = np.zeros((num_envs, PLAYERS, CONTROLLER_VALUES), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See Gymnasium; options are not read."""
        super().reset(seed=seed, options=options)
        self._core.reset(seeds=self._seeds(self.num_envs))
        self._ended[:] = False
        return self._seen(), {}

    def step(
        self, actions: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """See Gymnasium. A match that ended begins anew instead of this step."""
        put_action(actions, self._held[:, 0])
        before = _read(self._core)
        fresh = np.flatnonzero(self._ended)
        events = self._core.step(self._held)
        rewards = reward(before, _read(self._core), weights=self._weights).astype(np.float64)
        self._core.reset(fresh, self._seeds(len(fresh)))
        rewards[fresh] = 0.0
        done = events["done"].copy()
        cut = done & (self._core.world.players["stock"] > 0).all(1)
        self._ended = done
        return self._seen(), rewards, done & ~cut, cut, {"winner": events["winner"].copy()}

    def _seen(self) -> dict[str, np.ndarray]:
        return {"numbers": self._core.numbers[:, 0].copy(), "ids": self._core.ids[:, 0].copy()}

    def _seeds(self, count: int) -> np.ndarray:
        return self.np_random.integers(0, 1 << 62, count).astype(np.uint64)


class MeleeParallelEnv(ParallelEnv):
    """One match of two learners.

    Args:
      characters: of both.
      stage: where.
      limit_frames: frames after which it is cut off.
      weights: of the reward's terms.
    """

    metadata = {"name": "melee_v0", "render_modes": []}

    def __init__(
        self,
        *,
        characters: tuple[Character, Character] = (Character.FOX, Character.MARTH),
        stage: Stage = Stage.BATTLEFIELD,
        limit_frames: int = TIME_LIMIT_FRAMES,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.render_mode = None
        self.observation_spaces = {agent: observation_space() for agent in AGENTS}
        self.action_spaces = {agent: action_space() for agent in AGENTS}
        self._core = _core(1, characters, [stage], scripts=("", ""), limit_frames=limit_frames)
        self._weights = weights
        self._held = np.zeros((1, PLAYERS, CONTROLLER_VALUES), np.float32)
        self._random = np.random.default_rng()

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """See PettingZoo."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """See PettingZoo."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See PettingZoo; options are not read."""
        del options
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._core.reset(seeds=self._random.integers(0, 1 << 62, 1).astype(np.uint64))
        self.agents = list(AGENTS)
        return self._seen(), {agent: {} for agent in AGENTS}

    def step(
        self, actions: Mapping[str, Mapping[str, np.ndarray]]
    ) -> tuple[
        dict[str, Any],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """See PettingZoo: observations, rewards, terminations, truncations, infos."""
        for seat, agent in enumerate(AGENTS):
            put_action(actions[agent], self._held[0, seat])
        before = _read(self._core)
        events = self._core.step(self._held)
        gain = float(reward(before, _read(self._core), weights=self._weights)[0])
        done = bool(events["done"][0])
        cut = done and bool((self._core.world.players["stock"] > 0).all())
        everyone = list(AGENTS)
        if done:
            self.agents = []
        return (
            self._seen(),
            dict(zip(everyone, (gain, -gain), strict=True)),
            dict.fromkeys(everyone, done and not cut),
            dict.fromkeys(everyone, cut),
            {agent: {} for agent in everyone},
        )

    def render(self) -> None:
        """Nothing is drawn; `exphil_tf.view` draws games."""

    def close(self) -> None:
        """Nothing is open."""

    def _seen(self) -> dict[str, dict[str, np.ndarray]]:
        core = self._core
        return {
            agent: {"numbers": core.numbers[0, seat].copy(), "ids": core.ids[0, seat].copy()}
            for seat, agent in enumerate(AGENTS)
        }


def put_action(action: Mapping[str, np.ndarray], held: np.ndarray) -> None:
    """Writes an action of `action_space`, or a batch of them, as a controller `[…, 13]`."""
    held[..., : len(BUTTONS)] = action["buttons"]
    held[..., len(BUTTONS) : -1] = action["sticks"]
    held[..., -1:] = action["shoulder"]


def _core(
    count: int,
    characters: tuple[Character, Character],
    stages: Sequence[Stage],
    *,
    scripts: tuple[str, str],
    **options: Any,
) -> Environment:
    return Environment(
        np.array([[int(one) for one in characters]] * count),
        [stages[at % len(stages)] for at in range(count)],
        layout=LAYOUT,
        scripts=[scripts] * count,
        **options,
    )


def _read(core: Environment) -> dict[str, np.ndarray]:
    """Copies of the columns that rewards read."""
    return {n: core.values[:, STARTS[n] : STARTS[n] + PLAYERS].copy() for n in _READ}
