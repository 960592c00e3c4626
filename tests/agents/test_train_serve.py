"""Live play is shown what training was: the same columns and logits, on real replays, at any delay.

One side is training's own: rows of bytes and controllers as the input pipeline hands them over
(`data.batches.copy_unrolls`: states f, controllers f + delay to f + 1 + delay), unpacked and
unrolled by Keras in pieces that carry their state. The other side is play: libmelee's game states,
the frame reader, an agent per delay with its memory and queue, the exported policy in ONNX Runtime.
What the humans did is forced on it, so that both say the same of the same. A game is read once, for
both of its players at all delays.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from exported_policies import export, make_policy

from exphil_tf.agents.agent import Agent, AgentOptions, FrameStepper
from exphil_tf.agents.keras_stepper import KerasStepper
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.features.controller import COMPONENTS, to_bytes
from exphil_tf.features.packing import action_order, pack, perspective_order
from exphil_tf.features.viewpoint import take_perspective
from exphil_tf.inference.forcing import FORCING_TEMPERATURE, force
from exphil_tf.inference.stepper import Stepper
from exphil_tf.replays import absent
from exphil_tf.replays.parse import parse
from exphil_tf.replays.refusals import ReplayError
from models.policy import Policy
from models.policy_inputs import policy_inputs
from tests.agents.game_states import assert_same_columns, live_game

DELAYS = (0, 2, 18)
PLAYERS = (0, 1)
LENGTH = 256
"""Frames of an unroll."""
CORPUS_SAMPLE, CORPUS_FRAMES = 30, 2000
TRANSFORMS = "dd5320d41657.slp"
"""A game of the corpus in which Sheik becomes Zelda, and Sheik again, near its end."""


class Training:
    """What training sees of a game and says of it, both players at once."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self._unroll = tf.function(self._unrolled, autograph=False)

    def __call__(self, rows: np.ndarray, delay: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits float32 `[time, 2, logits]` and targets int32 `[time, 2, 13]` of packed rows."""
        time, found = len(rows) - 1 - delay, []
        state = self.policy.initial_state(len(PLAYERS))
        for start in range(0, time, LENGTH):
            is_resetting = np.zeros((len(PLAYERS), LENGTH), bool)
            is_resetting[:, 0] = start == 0
            batch = {
                "state": _piece(rows, start, LENGTH, perspective_order),
                "actions": _piece(rows, start + delay, LENGTH + 1, action_order),
                "weight": np.ones((len(PLAYERS), LENGTH), np.float32),
                "is_resetting": is_resetting,
                "delay": np.full(len(PLAYERS), delay, np.int32),
            }
            *answer, state = self._unroll({k: tf.constant(v) for k, v in batch.items()}, state)
            found.append([part.numpy() for part in answer])
        logits, targets = (np.concatenate(parts, 1)[:, :time] for parts in zip(*found, strict=True))
        return logits.swapaxes(0, 1), targets.swapaxes(0, 1)

    def _unrolled(self, batch, state):
        inputs = policy_inputs(batch, self.policy.config.head.codec, is_carried=True)
        logits, state = self.policy.unroll(
            inputs.columns,
            inputs.prev_action,
            inputs.targets,
            state=state,
            is_resetting=inputs.is_resetting,
        )
        targets = [inputs.targets[name] for name in COMPONENTS]
        joined = [targets[0], *(target[..., None] for target in targets[1:])]
        return tf.concat([logits[n] for n in COMPONENTS], -1), tf.concat(joined, -1), state


def _piece(rows: np.ndarray, start: int, length: int, order: Callable) -> np.ndarray:
    """Bytes of both players, uint8 `[2, length, …]`; zeros behind the game's end."""
    part = np.stack([rows[start : start + length, order(player)] for player in PLAYERS])
    return np.pad(part, ((0, 0), (0, length - part.shape[1]), (0, 0)))


class Playing:
    """Agents that watch a game live, one per delay, and are made to do what the humans did."""

    def __init__(self, training: Training, make: Callable[[], FrameStepper]):
        self._training, self._codec = training, training.policy.config.head.codec
        self._agents = {delay: Agent(make(), AgentOptions(delay=delay)) for delay in DELAYS}

    def assert_as_trained(self, path: Path, *, most: int | None = None) -> int:
        """Frames of a replay whose columns, logits and controllers are those of training.

        Args:
          path: of the replay.
          most: frames from its beginning; None for all.
        """
        game, live = parse(path, version="first"), live_game(path, most)
        rows = pack(game.frames)[:most]
        assert len(live["frame"]) == len(rows)
        assert_same_columns(live, game)
        if "p.hitlag" in absent.fields(game.info.absent):
            return 0  # before 3.8 records derive it from frames to come, and no Dolphin is so old
        views = [take_perspective(live, player) for player in PLAYERS]
        both = {name: np.stack([view[name] for view in views], 1) for name in live}
        for delay, agent in self._agents.items():
            if len(rows) > delay + 1:
                self._assert_plays(agent, both, *self._training(rows, delay))
        return len(rows)

    def _assert_plays(
        self, agent: Agent, seen: Mapping[str, np.ndarray], want: np.ndarray, targets: np.ndarray
    ) -> None:
        uniforms, delay = force(targets, self._codec.sizes), agent.options.delay
        logits, sent = np.empty_like(want), []
        agent.reset()
        for place in range(len(want)):
            decision = agent.act(
                {name: column[place] for name, column in seen.items()},
                uniforms=uniforms[place],
                temperature=FORCING_TEMPERATURE,
            )
            logits[place] = decision.output.logits
            sent.append(decision.controller)
        np.testing.assert_allclose(logits, want, rtol=0, atol=1e-5)
        chosen = self._decoded(targets)
        due = np.concatenate([np.zeros_like(chosen[:1]).repeat(delay, 0), chosen])[: len(sent)]
        np.testing.assert_array_equal(np.array(sent), due)

    def _decoded(self, targets: np.ndarray) -> np.ndarray:
        buttons = len(targets[0, 0]) - len(COMPONENTS) + 1
        parts = {"buttons": targets[..., :buttons]}
        parts |= {n: targets[..., buttons + k] for k, n in enumerate(COMPONENTS[1:])}
        return to_bytes(self._codec.decode(parts))


@pytest.fixture(scope="module")
def training() -> Training:
    return Training(make_policy("lstm", seed=4))


@pytest.fixture(scope="module")
def playing(training: Training) -> Playing:
    bundle = export(training.policy)
    return Playing(training, lambda: Stepper(bundle, batch_size=len(PLAYERS)))


@pytest.mark.parametrize("name", ["items", "nana"])
def test_live_columns_and_logits_are_those_of_training(
    real_replay: Callable[[str], Path], playing: Playing, name: str
) -> None:
    assert playing.assert_as_trained(real_replay(name)) > 100


def test_a_keras_policy_plays_alike(real_replay: Callable[[str], Path], training: Training) -> None:
    """Three games one after another: a game finds nothing of the one before."""
    stepper = KerasStepper(training.policy, PolicyInfo(training.policy.config), batch_size=2)
    assert Playing(training, lambda: stepper).assert_as_trained(real_replay("nana")) > 100


@pytest.mark.slow
def test_every_replay_beside_the_checkout(real_replays: list[Path], playing: Playing) -> None:
    """Those of two players and of 3.0 or later, which is what libmelee reads."""
    frames = {}
    for path in readable(real_replays):
        frames[path] = playing.assert_as_trained(path)
    assert sum(frames.values()) > 500


@pytest.mark.slow
def test_games_of_the_corpus(corpus_dir: Path, playing: Playing, tmp_path: Path) -> None:
    frames = 0
    with zipfile.ZipFile(corpus_dir / "games.zip") as archive:
        names = archive.namelist()
        for name in {*names[:: len(names) // CORPUS_SAMPLE], TRANSFORMS}:
            path = Path(archive.extract(name, tmp_path))
            most = None if name == TRANSFORMS else CORPUS_FRAMES
            frames += playing.assert_as_trained(path, most=most)
            path.unlink()
    assert frames > 20_000


def readable(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        try:
            if parse(path, version="first").info.version >= (3, 0, 0):
                yield path
        except ReplayError:
            continue
