"""Dropout falls on what a block adds to the residual stream, never on the stream or on memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from any_backbone import wake

from models.backbones import backbone_config
from models.backbones.attention import AttentionBlock
from models.layers.mamba import MambaBlock
from models.layers.residual import FeedForwardBlock, RecurrentBlock
from models.layers.sliding_window_attention import unroll_window

WIDTH = 32
BATCH = 8
TIME = 25
RATES = (0.1, 0.5, 0.9)

Branch = Callable[[np.ndarray, bool], np.ndarray]
"""`(x [batch, time, width], training) -> y`, one residual branch alone."""


def frames(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Far from zero everywhere, so that a hole in the stream would stand out.
    return rng.choice([-3.0, 3.0], (BATCH, TIME, WIDTH)).astype(np.float32)


def no_resets() -> tf.Tensor:
    return tf.zeros((BATCH, TIME), bool)


def mamba(rate: float) -> Branch:
    block = MambaBlock(WIDTH, state_size=4, dropout=rate, seed=3)
    block.build((None, None, WIDTH))
    state = block.initial_state(BATCH)
    return lambda x, training: np.asarray(
        block.unroll(tf.constant(x), state, no_resets(), training=training)[0]
    )


def attention_block(rate: float, *, silent: str) -> Branch:
    """An attention block of whose two branches one is silent, so that the other stands alone."""
    config = backbone_config(
        "sliding_window", hidden=(WIDTH,), num_heads=2, window_size=6, dropout=rate
    )
    block = AttentionBlock(config, seed=3)
    block.build((None, None, WIDTH))
    kernel = {"attention": block.attention.out, "feed_forward": block.shrink}[silent].kernel
    kernel.assign(tf.zeros_like(kernel))
    window = unroll_window(tf.zeros((BATCH,), tf.int32), no_resets(), 6)
    cache = block.attention.initial_cache(BATCH)
    return lambda x, training: np.asarray(
        block.unroll(tf.constant(x), cache, window, training=training)[0]
    )


def residual(block: Any) -> Branch:
    block.build((None, None, WIDTH))
    wake(block)
    state = block.initial_state(BATCH)
    return lambda x, training: np.asarray(
        block.unroll(tf.constant(x), state, no_resets(), training=training)[0]
    )


def mlp(rate: float) -> Branch:
    config = backbone_config("mlp", hidden=(WIDTH,), dropout=rate, residual=True)
    backbone: Any = config.layer(seed=3)
    backbone.build((None, None, WIDTH))
    return lambda x, training: np.asarray(
        backbone.unroll(tf.constant(x), (), no_resets(), training=training)[0]
    )


BRANCHES: dict[str, Callable[[float], Branch]] = {
    "mamba": mamba,
    "feed_forward": lambda rate: attention_block(rate, silent="attention"),
    "mlp": mlp,
    "lstm": lambda rate: residual(RecurrentBlock(WIDTH, dropout=rate, seed=3)),
    "feed_forward_alone": lambda rate: residual(FeedForwardBlock(WIDTH, dropout=rate, seed=3)),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", BRANCHES)
def test_the_residual_stream_passes_unchanged(name, rate):
    """Every activation is `x` (dropped) or `x + f(x) / (1 - rate)` (kept), and nothing else."""
    branch, x = BRANCHES[name](rate), frames()
    added = branch(x, False) - x
    given = branch(x, True) - x
    is_kept = np.abs(given - added / (1.0 - rate)) < 1e-4
    is_dropped = np.abs(given) < 1e-5
    assert (is_kept | is_dropped).all()
    told_apart = np.abs(added) > 1e-3
    share = is_dropped[told_apart].mean()
    assert told_apart.sum() > 1000
    assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / told_apart.sum())


def test_attention_itself_is_never_dropped():
    block, x = attention_block(0.9, silent="feed_forward"), frames()
    np.testing.assert_allclose(block(x, True), block(x, False), atol=1e-6)


def test_a_frame_is_known_at_any_depth_whatever_is_dropped():
    """With nearly everything dropped, twelve Mamba blocks still hand on what the stem put in."""
    config = backbone_config("mamba", hidden=(WIDTH,), num_layers=12, state_size=4, dropout=0.999)
    backbone: Any = config.layer(seed=3)
    backbone.build((None, None, WIDTH))
    x = tf.constant(frames())
    y, _ = backbone.unroll(x, backbone.initial_state(BATCH), no_resets(), training=True)
    untouched = np.isclose(y, backbone.norm(backbone.stem(x)), atol=1e-4).all(axis=-1)
    assert untouched.mean() > 0.3


@pytest.mark.parametrize("name", ["lstm", "gru", "tx_like"])
def test_recurrent_memory_is_never_dropped(name):
    config = backbone_config(name, hidden=(WIDTH,), num_layers=1, dropout=0.5)
    backbone: Any = config.layer(seed=3)
    backbone.build((None, None, WIDTH))
    x, state = tf.constant(frames()), backbone.initial_state(BATCH)
    _, trained = backbone.unroll(x, state, no_resets(), training=True)
    _, played = backbone.unroll(x, state, no_resets(), training=False)
    parts = [tf.nest.flatten(memory) for memory in (trained, played)]
    assert parts[0]
    for got, want in zip(*parts, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
