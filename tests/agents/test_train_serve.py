"""Live play is shown what training was: the same logits, on real replays, at every delay.

One side is training's own: rows of bytes and controllers as the input pipeline hands them over
(`data.batches.copy_unrolls`: states f, controllers f + delay to f + 1 + delay), unpacked and
unrolled in one graph of Keras. The other side is play: libmelee's game states, the frame reader,
the agent with its memory and queue, the exported policy in ONNX Runtime. What the human did is
forced on it, so that both say the same of the same.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from exported_policies import export, make_policy

from exphil_tf.agents.agent import Agent, AgentOptions
from exphil_tf.agents.keras_stepper import KerasStepper
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.features.controller import COMPONENTS, to_bytes
from exphil_tf.features.packing import action_order, pack, perspective_order
from exphil_tf.features.viewpoint import take_perspective
from exphil_tf.inference.forcing import FORCING_TEMPERATURE, force
from exphil_tf.inference.stepper import Stepper
from exphil_tf.replays.parse import parse
from exphil_tf.replays.refusals import ReplayError
from models.policy import Policy
from models.policy_inputs import PolicyInputs, policy_inputs
from tests.agents.game_states import live_columns

DELAYS = (0, 2, 18)


def as_trained(
    path: Path, policy: Policy, *, player: int, delay: int
) -> tuple[PolicyInputs, tf.Tensor]:
    """A game as one unroll of a batch, and training's logits of it `[time, logits]`."""
    rows = pack(parse(path, version="first").frames)
    time = len(rows) - 1 - delay
    batch = {
        "state": tf.constant(rows[None, :time, perspective_order(player)]),
        "actions": tf.constant(rows[None, delay : delay + time + 1, action_order(player)]),
        "weight": tf.ones((1, time)),
        "is_resetting": tf.range(time)[None] == 0,
        "delay": tf.constant([delay]),
    }
    inputs = policy_inputs(batch, policy.config.head.codec, is_carried=True)
    logits, _ = policy.unroll(
        inputs.columns,
        inputs.prev_action,
        inputs.targets,
        state=policy.initial_state(1),
        is_resetting=inputs.is_resetting,
    )
    return inputs, tf.concat([logits[name] for name in COMPONENTS], -1)[0].numpy()


def assert_plays_as_it_learnt(path: Path, policy: Policy, stepper, *, player: int, delay: int):
    inputs, want = as_trained(path, policy, player=player, delay=delay)
    agent, codec = Agent(stepper, AgentOptions(delay=delay)), policy.config.head.codec
    agent.reset()
    targets = {name: np.asarray(value)[0] for name, value in inputs.targets.items()}
    joined = np.concatenate(
        [targets["buttons"], *(targets[name][:, None] for name in COMPONENTS[1:])], -1
    )
    uniforms = force(joined, codec.sizes)
    done = to_bytes(codec.decode(targets))
    for place, columns in enumerate(live_columns(path)):
        if place == len(want):
            break
        seen = {k: v[None] for k, v in take_perspective(columns, player).items()}
        decision = agent.act(seen, uniforms=uniforms[place][None], temperature=FORCING_TEMPERATURE)
        np.testing.assert_allclose(decision.output.logits[0], want[place], atol=1e-5)
        due = done[place - delay] if place >= delay else np.zeros_like(done[0])
        np.testing.assert_array_equal(decision.controller[0], due)
    assert place >= len(want) - 1 > 50


@pytest.fixture(scope="module")
def policy() -> Policy:
    return make_policy("lstm", seed=4)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("name", ["items", "nana"])
def test_live_logits_are_those_of_training(
    real_replay: Callable[[str], Path], policy: Policy, name: str, delay: int
) -> None:
    stepper = Stepper(export(policy))
    assert_plays_as_it_learnt(real_replay(name), policy, stepper, player=1, delay=delay)


def test_a_keras_policy_plays_alike(real_replay: Callable[[str], Path], policy: Policy) -> None:
    stepper = KerasStepper(policy, PolicyInfo(policy.config))
    path = real_replay("nana")
    for _ in range(2):  # a second game finds nothing of the first
        assert_plays_as_it_learnt(path, policy, stepper, player=0, delay=2)


@pytest.mark.slow
def test_live_logits_of_every_replay(real_replays: list[Path], policy: Policy) -> None:
    """Each by one of its players at one of the delays, in turn."""
    stepper, seen = Stepper(export(policy)), 0
    for path in real_replays:
        try:
            info = parse(path, version="first").info
        except ReplayError:
            continue
        if info.version < (3, 8, 0):
            continue
        player, delay = ((0, 0), (1, 2), (0, 18), (1, 0), (0, 2), (1, 18))[seen % 6]
        assert_plays_as_it_learnt(path, policy, stepper, player=player, delay=delay)
        seen += 1
    assert seen >= 2
