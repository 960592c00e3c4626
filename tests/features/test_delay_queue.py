"""Inputs on their way arrive when they are due; `tests/data/test_alignment.py` asks training."""

import numpy as np
import pytest

from exphil_tf.features.delay_queue import DelayQueue
from exphil_tf.features.packing import ACTION_BYTES
from tests import strategies

DELAYS = pytest.mark.parametrize("delay", [0, 1, 3, 18])


@DELAYS
def test_what_is_pushed_comes_out_delay_frames_later(delay):
    queue, inputs = DelayQueue(delay), strategies.make_controller_bytes(0, 40)
    sent = [queue.push(chosen) for chosen in inputs]
    assert queue.delay == delay and len(queue.pending) == delay
    np.testing.assert_array_equal(queue.newest, inputs[-1])
    np.testing.assert_array_equal(queue.pending, inputs[40 - delay :])
    np.testing.assert_array_equal(sent[delay:], inputs[: 40 - delay])
    assert not np.any(sent[:delay]), "neutral until the first is due"


@DELAYS
def test_games_of_a_batch_start_anew_alone(delay):
    queue, inputs = DelayQueue(delay, (3,)), strategies.make_controller_bytes(1, 120)
    inputs = inputs.reshape(40, 3, ACTION_BYTES)
    alone = [DelayQueue(delay) for _ in range(3)]
    for frame, chosen in enumerate(inputs):
        starts = np.array([frame == 0, frame in (7, 8), False])
        queue.reset(starts)
        for game in np.flatnonzero(starts):
            alone[game] = DelayQueue(delay)
        np.testing.assert_array_equal(queue.newest, [one.newest for one in alone])
        want = [one.push(one_chosen) for one, one_chosen in zip(alone, chosen, strict=True)]
        np.testing.assert_array_equal(queue.push(chosen), want)
    queue.reset()
    assert not queue.newest.any() and not queue.pending.any()


def test_what_is_no_input_is_refused():
    with pytest.raises(ValueError, match="delay: want 0 or more"):
        DelayQueue(-1)
    for wrong in (np.zeros(5, np.uint8), np.zeros(6), np.zeros((2, 6), np.uint8)):
        with pytest.raises(ValueError, match=r"chosen: want uint8 \[6\]. Received"):
            DelayQueue(2).push(wrong)
    # An array that its owner goes on to change is not kept.
    queue, chosen = DelayQueue(1), np.full(6, 7, np.uint8)
    queue.push(chosen)
    chosen[:] = 0
    assert queue.push(chosen).tolist() == [7] * 6
