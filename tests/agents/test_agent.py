"""The agent on steppers whose every answer can be foretold."""

import numpy as np
import pytest

from exphil_tf.agents.agent import Agent, AgentOptions, confidence, controller_bytes
from exphil_tf.features.controller_state import ControllerState
from exphil_tf.features.packing import ACTION_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.inference.stepper import StepOutput

UNIFORMS = 20


class Counting:
    """Presses A on every other frame of a game; the stick moves one step further each frame."""

    num_uniforms = UNIFORMS

    def __init__(self, batch_size=1, first=0):
        self.batch_size, self.first = batch_size, first
        self.frames = np.full(batch_size, first)
        self.previous = np.zeros((batch_size, 13), np.float32)
        self.seen, self.noise, self.temperatures = [], [], []
        self.columns = None

    def reset(self, rows=None):
        where = slice(None) if rows is None else rows
        self.frames[where], self.previous[where] = self.first, 0

    def commit(self, controller):
        self.previous = controller.copy()

    def step(self, columns, *, uniforms=None, temperature=1.0):
        self.columns = columns
        self.seen.append(self.previous.copy())
        self.noise.append(uniforms)
        self.temperatures.append(temperature)
        answer = np.zeros((self.batch_size, 13), np.float32)
        answer[:, 0] = self.frames % 2
        answer[:, 8] = (30 + self.frames) / 80
        self.frames = self.frames + 1
        self.previous = answer
        return StepOutput(
            answer, np.zeros((self.batch_size, 13), np.int32), np.zeros((1, UNIFORMS))
        )


def frame(batch=1):
    return SCHEMA.zeros(batch)


def stick(stored):
    return ControllerState.from_bytes(stored).main[..., 0].tolist()


@pytest.mark.parametrize("delay", [0, 2, 18])
def test_an_answer_is_sent_when_it_is_due_and_is_the_previous_action_at_once(delay):
    """Frame f + 1 + delay gets what was chosen on frame f; the policy reads what it chose last."""
    stepper = Counting()
    agent = Agent(stepper, AgentOptions(delay=delay))
    sent = [stick(agent.act(frame()).controller)[0] for _ in range(40)]
    assert sent == [0] * delay + [30 + f for f in range(40 - delay)]
    previous = [round(float(seen[0, 8]) * 80) for seen in stepper.seen]
    assert previous == [0, *(30 + f for f in range(39))]
    assert [stick(one)[0] for one in agent.pending()] == [30 + f for f in range(40 - delay, 40)]


def test_what_somebody_else_delays_is_not_queued_again():
    agent = Agent(Counting(), AgentOptions(delay=18, queued_frames=0))
    assert stick(agent.act(frame()).controller) == [30]
    agent = Agent(Counting(), AgentOptions(delay=5, queued_frames=3))
    assert [stick(agent.act(frame()).controller)[0] for _ in range(5)] == [0, 0, 0, 30, 31]
    with pytest.raises(ValueError, match="queued_frames: want 0 to 2, the delay. Received: 3"):
        AgentOptions(delay=2, queued_frames=3)


def test_an_answer_is_held_and_is_what_the_policy_is_told():
    stepper = Counting()
    agent = Agent(stepper, AgentOptions(action_repeat=3))
    decisions = [agent.act(frame()) for _ in range(7)]
    assert [stick(d.controller)[0] for d in decisions] == [30, 30, 30, 33, 33, 33, 36]
    assert [bool(d.is_repeat[0]) for d in decisions] == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    previous = [round(float(seen[0, 8]) * 80) for seen in stepper.seen]
    assert previous == [0, 30, 30, 30, 33, 33, 33]


def test_a_game_starts_from_nothing_in_its_row_alone():
    agent = Agent(Counting(2), AgentOptions(delay=1, action_repeat=2))
    for _ in range(3):
        agent.act(frame(2))
    agent.reset([1])
    assert stick(agent.act(frame(2)).controller) == [32, 0]
    assert stick(agent.act(frame(2)).controller) == [32, 30]


def test_another_policy_plays_from_the_next_game_on():
    agent = Agent(Counting(2), AgentOptions(delay=1))
    agent.act(frame(2))
    agent.swap(Counting(2, first=40))
    agent.reset([0])
    assert stick(agent.act(frame(2)).controller) == [0, 30], "row 1 still plays its game"
    agent.reset()
    agent.act(frame(2))
    assert stick(agent.act(frame(2)).controller) == [70, 70]
    with pytest.raises(ValueError, match="want 2 rows. Received: 1"):
        agent.swap(Counting())


def test_a_mirrored_agent_sees_the_reflection_and_its_answer_is_reflected():
    stepper = Counting()
    columns = frame()
    columns["p.x"][0] = [12.5, -3.0]
    columns["p.facing"][0] = [1, 0]
    mirrored = Agent(stepper, AgentOptions(is_mirrored=True)).act(columns)
    assert stepper.columns["p.x"].tolist() == [[-12.5, 3.0]]
    assert stepper.columns["p.facing"].tolist() == [[0, 1]]
    assert stick(mirrored.controller) == [-30]
    assert stepper.previous[0, 8] == np.float32(30 / 80), "its own side of the mirror"


def test_ways_to_decode():
    stepper = Counting()
    Agent(stepper, AgentOptions(temperature=0.7)).act(frame())
    Agent(stepper, AgentOptions(temperature=0.7, decode="deterministic")).act(frame())
    Agent(stepper, AgentOptions(temperature=0.7, decode="mixed")).act(frame())
    assert stepper.temperatures == [0.7, 0.0, 0.7]
    assert stepper.noise[0] is None
    mixed = stepper.noise[2]
    assert (mixed[:, :8] == 0.5).all() and len(set(mixed[0, 8:])) == UNIFORMS - 8


def test_warm_up_leaves_no_trace():
    stepper = Counting()
    agent = Agent(stepper, AgentOptions(delay=2))
    agent.warm_up(5)
    assert len(stepper.noise) == 5 and all(noise is not None for noise in stepper.noise)
    assert agent.latency.count == 0 and not agent.pending().any()
    assert stick(agent.act(frame()).controller) == [0] and stepper.frames == [1]
    assert agent.latency.count == 1


def test_controllers_keep_every_value_of_the_grid():
    rows = np.zeros((161, 13), np.float32)
    rows[:, 8] = np.arange(-80, 81) / np.float32(80)
    rows[:, 12] = np.minimum(np.arange(161), 140) / np.float32(140)
    stored = controller_bytes(rows)
    state = ControllerState.from_bytes(stored)
    assert stored.shape == (161, ACTION_BYTES)
    assert state.main[:, 0].tolist() == list(range(-80, 81))
    assert state.shoulder.tolist() == [min(k, 140) for k in range(161)]


def test_confidence_is_the_probability_of_what_was_chosen():
    sizes = {"buttons": 8, "main_x": 3, "main_y": 3, "c_x": 3, "c_y": 3, "shoulder": 2}
    logits = np.zeros((1, 8 + 12 + 2))
    buckets = np.zeros((1, 13), np.int32)
    logits[0, 0], buckets[0, 0] = np.log(3), 1  # pressed with 3/4, the others with 1/2
    logits[0, 8] = np.log(2)  # bucket 0 of three with 2/4
    want = np.mean([(0.75 + 7 * 0.5) / 8, 0.5, 1 / 3, 1 / 3, 1 / 3, 0.5])
    found = confidence(StepOutput(np.zeros((1, 13)), buckets, logits), sizes)
    np.testing.assert_allclose(found, [want], rtol=1e-6)
