"""Names in a step's graph, by which a compiled one is found again."""

import pytest
import tensorflow as tf

from exphil_tf.training import compiled_step
from exphil_tf.training.compiled_step import CompiledStep


def doubled(x):
    """With a loop, whose body has a name of its own."""
    return tf.while_loop(lambda x: tf.reduce_max(x) < 9, lambda x: 2 * x, [x])[0]


def traced(monkeypatch):
    """The graph of a process that traces `doubled` first."""
    monkeypatch.setattr(compiled_step, "_numbers", {})
    return CompiledStep(doubled, jit=False).graph(tf.ones([3])).as_graph_def()


def test_names_do_not_tell_what_the_process_made_before(monkeypatch):
    first = traced(monkeypatch)
    made = [tf.ones([]) for _ in range(7)]
    assert traced(monkeypatch) == first
    assert "while_body" in str(first)
    del made


def test_a_second_step_of_the_same_name_has_names_of_its_own(monkeypatch):
    first = traced(monkeypatch)
    assert CompiledStep(doubled, jit=False).graph(tf.ones([3])).as_graph_def() != first


def test_only_tracing_is_numbered_so_and_a_failure_leaves_nothing_behind():
    usual = compiled_step.ops.uid

    def fails(x):
        raise ArithmeticError("while tracing")

    with pytest.raises(ArithmeticError):
        CompiledStep(fails, jit=False)(tf.ones([]))
    assert compiled_step.ops.uid is usual
    step = CompiledStep(lambda x: x + 1, jit=False)
    assert [step(tf.ones([])).numpy() for _ in range(2)] == [2, 2]
    assert compiled_step.ops.uid is usual


def test_many_steps_of_one_function_are_no_reason_to_warn(caplog):
    caplog.set_level("WARNING", "tensorflow")
    tf.get_logger().addHandler(caplog.handler)
    try:
        for _ in range(9):
            CompiledStep(doubled, jit=False)(tf.ones([3]))
        assert "retracing" not in caplog.text
        for _ in range(9):
            tf.function(lambda x: x + 1)(tf.ones([3]))
        assert "retracing" in caplog.text, "TensorFlow would have warned"
    finally:
        tf.get_logger().removeHandler(caplog.handler)
