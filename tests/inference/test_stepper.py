"""The stepper on a hand-made graph whose every output can be foretold."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exphil_tf.features.controller import NEUTRAL_VALUES, ControllerCodec, to_bytes
from exphil_tf.features.delay import Delay
from exphil_tf.inference.conditions import Conditions, Span
from exphil_tf.inference.session import open_session, session_options
from exphil_tf.inference.stepper import Stepper

COLUMNS = {
    "numbers": {"p.percent": {"start": 0, "stop": 2}, "frame": {"start": 2, "stop": 3}},
    "ids": {"p.action": {"start": 0, "stop": 2}, "s.stage": {"start": 2, "stop": 3}},
}
LOGITS = 4
NOTHING = Conditions(Delay())


def port(name, shape, kind=TensorProto.FLOAT, batch="batch"):
    return helper.make_tensor_value_info(name, kind, [batch, *shape])


def hand_made(batch="batch", *, remembers=True) -> bytes:
    """Memory sums the numbers of all frames since a reset; the controller counts frames up.

    logits = uniforms · temperature + memory; buckets = ids, then zeros.
    """
    nodes = [
        helper.make_node("Unsqueeze", ["temperature", "one"], ["t"]),
        helper.make_node("ReduceSum", ["numbers", "one"], ["sum"]),
        helper.make_node("Mul", ["uniforms", "t"], ["noise"]),
        helper.make_node("Pad", ["ids", "pads"], ["buckets"]),
    ]
    inputs = [
        port("numbers", [3], batch=batch),
        port("ids", [3], TensorProto.INT32, batch),
        port("uniforms", [LOGITS], batch=batch),
        port("temperature", [], batch=batch),
    ]
    outputs = [
        port("controller", [13], batch=batch),
        port("buckets", [13], TensorProto.INT32, batch),
        port("logits", [LOGITS], batch=batch),
    ]
    if remembers:
        inputs += [port("prev_action", [13], batch=batch), port("state.total", [1], batch=batch)]
        outputs.append(port("new.total", [1], batch=batch))
        nodes += [
            helper.make_node("Add", ["state.total", "sum"], ["new.total"]),
            helper.make_node("Add", ["noise", "new.total"], ["logits"]),
            helper.make_node("Add", ["prev_action", "unit"], ["controller"]),
        ]
    else:
        nodes += [
            helper.make_node("Add", ["noise", "sum"], ["logits"]),
            helper.make_node("Cast", ["buckets"], ["controller"], to=TensorProto.FLOAT),
        ]
    constants = {
        "one": np.array([1], np.int64),
        "unit": np.ones((1, 13), np.float32),
        "pads": np.array([0, 0, 0, 10], np.int64),
    }
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "hand made", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bundle(model: bytes | None = None, *, form: str = "step", columns=COLUMNS, told=NOTHING):
    """As far as a stepper looks."""
    graph = hand_made() if model is None else model
    return SimpleNamespace(
        folder=Path(),
        config=SimpleNamespace(columns=columns, form=form, told=lambda: told, win_probability=None),
        session=lambda options: open_session(graph, options),
    )


def frame(batch: int = 1, *, percent: float = 1.0, number: int = 0) -> dict[str, np.ndarray]:
    return {
        "p.percent": np.full((batch, 2), percent, np.float32),
        "frame": np.full(batch, number, np.int32),
        "p.action": np.tile(np.array([14, 322], np.uint16), (batch, 1)),
        "s.stage": np.full(batch, 31, np.uint8),
        "p.stock": np.zeros((batch, 2), np.uint8),  # not read by this policy
    }


def test_columns_reach_the_graph_and_its_answer_comes_back():
    uniforms = np.array([[0.0, 0.25, 0.5, 0.75]], np.float32)
    answer = Stepper(bundle()).step(
        frame(percent=20.0, number=-123), uniforms=uniforms, temperature=4.0
    )
    np.testing.assert_array_equal(answer.logits, [[-83.0, -82.0, -81.0, -80.0]])
    np.testing.assert_array_equal(answer.buckets[0, :4], [14, 322, 31, 0])
    np.testing.assert_array_equal(answer.controller, np.ones((1, 13)))


def test_memory_and_previous_action_are_fed_back():
    stepper = Stepper(bundle(), batch_size=2)
    totals, counts = [], []
    for number in range(5):
        answer = stepper.step(frame(2, number=number), temperature=0.0)
        totals.append(answer.logits[:, 0].tolist())
        counts.append(answer.controller[:, 7].tolist())
    # Each frame adds 1 + 1 + its number.
    assert totals == [[2, 2], [5, 5], [9, 9], [14, 14], [20, 20]]
    assert counts == [[n, n] for n in (1, 2, 3, 4, 5)]
    np.testing.assert_array_equal(stepper.state["total"], [[20], [20]])


@pytest.mark.parametrize("rows", [[1], np.array([False, True])])
def test_a_reset_row_forgets_memory_and_action_and_others_do_not(rows):
    stepper = Stepper(bundle(), batch_size=2)
    for _ in range(3):
        stepper.step(frame(2), temperature=0.0)
    stepper.reset(rows)
    answer = stepper.step(frame(2), temperature=0.0)
    assert answer.logits[:, 0].tolist() == [8, 2]
    assert answer.controller[:, 0].tolist() == [4, 1]
    # Once only: the frame after goes on from there.
    answer = stepper.step(frame(2), temperature=0.0)
    assert answer.logits[:, 0].tolist() == [10, 4]
    assert answer.controller[:, 0].tolist() == [5, 2]
    stepper.reset()
    assert stepper.step(frame(2), temperature=0.0).logits[:, 0].tolist() == [2, 2]


def test_what_a_policy_is_told_holds_for_a_game():
    ids = {"p.action": {"start": 0, "stop": 2}, "delay": {"start": 2, "stop": 3}}
    conditions = Conditions(Delay(4, 2, 9), {"delay": Span(4, 2, 9)})
    made = bundle(columns={"numbers": COLUMNS["numbers"], "ids": ids}, told=conditions)

    def told(stepper, **columns):
        return stepper.step(frame(2) | columns).buckets[:, 2].tolist()

    stepper = Stepper(made, batch_size=2)
    assert told(stepper) == [4, 4]
    stepper.reset([1], told={"delay": 9})
    assert told(stepper) == told(stepper) == [4, 9]
    # A frame may tell another, until the next game.
    assert told(stepper, delay=np.array([5, 6], np.int32)) == told(stepper) == [5, 6]
    stepper.reset(np.array([True, False]))
    assert told(stepper) == [4, 6]
    assert told(Stepper(made, batch_size=2, told={"delay": 2})) == [2, 2]
    for wrong, said in (
        ({"delay": 10}, "want 2 to 9"),
        ({"return": 1}, r"want some of \['delay'\]"),
    ):
        with pytest.raises(ValueError, match=said):
            stepper.reset(told=wrong)
        with pytest.raises(ValueError, match=said):
            Stepper(made, batch_size=2, told=wrong)


def test_an_answer_outlives_the_next_step():
    stepper = Stepper(bundle())
    first = stepper.step(frame(), temperature=0.0)
    kept = [array.copy() for array in first]
    stepper.reset()
    second = stepper.step(frame(percent=9.0), temperature=0.0)
    assert second.logits[0, 0] == 18
    np.testing.assert_array_equal(first.logits, kept[2])
    assert first.buckets is not second.buckets


def test_joined_columns_play_like_columns():
    one, two = Stepper(bundle(), batch_size=3, seed=7), Stepper(bundle(), batch_size=3, seed=7)
    for number in range(4):
        by_column = one.step(frame(3, number=number))
        numbers = np.tile(np.array([1, 1, number], np.float32), (3, 1))
        joined = two.step_joined(numbers, np.tile(np.array([14, 322, 31], np.int32), (3, 1)))
        for array, same in zip(by_column, joined, strict=True):
            np.testing.assert_array_equal(array, same)


def test_uniforms_follow_the_seed_and_lie_in_their_range():
    def drawn(seed):
        stepper = Stepper(bundle(), batch_size=50, seed=seed)
        empty = frame(50, percent=0.0)
        return np.stack([stepper.step(empty).logits.copy() for _ in range(20)])

    found = drawn(1)
    np.testing.assert_array_equal(found, drawn(1))
    assert (found != drawn(2)).mean() > 0.99
    assert 0 <= found.min() < 0.01 and 0.99 < found.max() < 1
    assert len(np.unique(found)) > 3900  # of 4,000: no frame repeats another's


def test_temperature_may_differ_by_row():
    stepper = Stepper(bundle(), batch_size=2)
    uniforms = np.ones((2, LOGITS), np.float32)
    temperature = np.array([0.0, 3.0], np.float32)
    answer = stepper.step(frame(2, percent=0.0), uniforms=uniforms, temperature=temperature)
    assert answer.logits.tolist() == [[0] * LOGITS, [3] * LOGITS]


def test_a_policy_without_memory_and_previous_action():
    stepper = Stepper(bundle(hand_made(remembers=False)), batch_size=2)
    for _ in range(3):
        answer = stepper.step(frame(2), temperature=0.0)
        stepper.reset([0])
        assert answer.logits[:, 0].tolist() == [2, 2]
        assert answer.controller[0, :3].tolist() == [14, 322, 31]
    assert stepper.state == {}


def test_frames_are_neither_kept_nor_changed():
    stepper = Stepper(bundle())
    shown = frame(percent=5.0)
    before = {name: column.copy() for name, column in shown.items()}
    stepper.step(shown, temperature=0.0)
    for name, column in shown.items():
        np.testing.assert_array_equal(column, before[name])
        column[...] = 0
    assert stepper.step(frame(percent=5.0), temperature=0.0).logits[0, 0] == 20


def test_nothing_is_allocated_per_frame():
    batch = 4096
    stepper, shown = Stepper(bundle(), batch_size=batch), frame(batch)
    for _ in range(4):
        stepper.step(shown)
    tracemalloc.start()
    try:
        for _ in range(20):
            stepper.step(shown)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < batch  # not even a flag per row


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_and_not_remembered(wrong):
    stepper = Stepper(bundle())
    stepper.step(frame(), temperature=0.0)
    broken = frame()
    broken["p.percent"][0, 1] = wrong
    with pytest.raises(ValueError, match=r"want finite numbers. Received: p\.percent$"):
        stepper.step(broken)
    assert stepper.step(frame(), temperature=0.0).logits[0, 0] == 4
    with pytest.raises(ValueError, match="want finite numbers"):
        stepper.step_joined(np.full((1, 3), wrong, np.float32), np.zeros((1, 3), np.int32))


def test_missing_and_misshapen_columns_are_named():
    stepper = Stepper(bundle(), batch_size=2)
    shown = frame(2)
    del shown["s.stage"]
    with pytest.raises(ValueError, match=r"s\.stage: want shape \[2\]. Received: none"):
        stepper.step(shown)
    with pytest.raises(ValueError, match=r"p\.percent: want shape \[2, 2\]. Received: \[1, 2\]"):
        stepper.step(frame(1))
    stepper.step(frame(2))
    with pytest.raises(ValueError, match=r"want s\.stage"):
        stepper.step(shown)


def test_a_graph_of_another_batch_is_refused():
    with pytest.raises(ValueError, match="want 4, which the bundle was exported for. Received: 2"):
        Stepper(bundle(hand_made(batch=4)), batch_size=2)
    answer = Stepper(bundle(hand_made(batch=4)), batch_size=4).step(frame(4), temperature=0.0)
    assert answer.logits.shape == (4, LOGITS)


def test_a_graph_of_windows_is_refused():
    with pytest.raises(ValueError, match="want the form step. Received: window"):
        Stepper(bundle(form="window"))


def test_sessions_take_what_they_are_told():
    options = session_options(threads=2)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"
    for wrong in ({"threads": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="want threads ≥ 1, rows ≥ 1"):
            session_options(**wrong)


@pytest.mark.parametrize(
    "codec", [ControllerCodec(), ControllerCodec(axis_buckets=33, shoulder_buckets=2)]
)
def test_the_untouched_controller_decodes_to_zeros(codec):
    values = codec.decode(codec.encode(to_bytes(NEUTRAL_VALUES)))
    assert all(not np.any(value) for value in values.values())


def test_the_stepper_needs_no_tensorflow():
    code = (
        "import sys, exphil_tf.inference.stepper\n"
        "print([m for m in ('tensorflow', 'keras', 'models', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
