"""Unpacking in graphs equals unpacking in numpy, bit for bit, with and without XLA."""

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.data.unpack import unpack_actions, unpack_state
from exphil_tf.features import packing
from exphil_tf.features.schema import SCHEMA
from tests.strategies import make_frames


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("lead", [(24,), (2, 12), (2, 3, 4)])
def test_equals_packing_unpack_bit_for_bit(jit_compile, lead):
    rows = packing.pack(make_frames(seed=1, num_frames=24, extremes=0.2, on_grid=True))
    want = packing.unpack(rows)
    unpack = tf.function(unpack_state, jit_compile=jit_compile)
    got = unpack(tf.constant(rows.reshape(*lead, -1)))
    assert list(got) == list(packing.LAYOUT.slots)
    for field in SCHEMA.fields:
        column = got[field.name].numpy()
        assert column.shape == (*lead, *field.shape)
        assert column.dtype == np.dtype(field.dtype), field.name
        assert column.tobytes() == want[field.name].tobytes(), field.name


def test_unknown_batch_size_works_too():
    signature = [tf.TensorSpec([None, 5, packing.ROW_BYTES], tf.uint8)]
    unpack = tf.function(unpack_state, input_signature=signature)
    assert unpack(tf.zeros([3, 5, packing.ROW_BYTES], tf.uint8))["i.x"].shape == (3, 5, 5)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_actions_are_the_own_controller(jit_compile):
    rows = packing.pack(make_frames(seed=2, num_frames=30, extremes=0.2, on_grid=True))
    state = unpack_state(tf.constant(rows))
    for player in range(2):
        actions = tf.constant(rows[:, packing.action_order(player)])
        got = tf.function(unpack_actions, jit_compile=jit_compile)(actions)
        assert list(got) == [field.name for field in packing.CONTROLLER_FIELDS]
        for name, values in got.items():
            np.testing.assert_array_equal(values, state[name][:, player])


def test_wrong_width_is_refused():
    with pytest.raises(ValueError, match=f"{packing.ROW_BYTES}"):
        unpack_state(tf.zeros([3, 5], tf.uint8))
