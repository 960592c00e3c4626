"""Mirror and noise inside the input graph, on a block of records.

Both follow the rules of `exphil_tf.features.packing`, so what a mirrored view shows equals a
mirrored shard bit for bit. A coin decides for a *view*, one player's sight of one record, in one
epoch: unrolls never flip half-way, a batch holds unrolls of many views, and a byte is touched once
however many windows overlap it. On batches the same work costs 5 to 60 times more.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from exphil_tf.features import packing
from exphil_tf.features.reflection import Backend


class ViewOrders(NamedTuple):
    """Planes of `with_reflections` that make up a view, by `player + 2 * is_mirrored`."""

    state: np.ndarray
    """int64 `[4, ROW_BYTES]`."""
    actions: np.ndarray
    """int64 `[4, ACTION_BYTES + 1]`: the own controller, and `absent`."""


def with_reflections(planes: tf.Tensor) -> tf.Tensor:
    """Byte planes with the reflected ones behind them: uint8 `[records, bytes, columns]`.

    A mirrored view is then a choice of planes, like the perspective, and as cheap.
    """
    backend = Backend(
        take=lambda index: tf.gather(planes, index, axis=1),
        join=lambda parts: tf.concat(parts, 1),
        look_up=tf.gather,
        cast=tf.cast,
    )
    return tf.concat([planes, packing.REFLECTION.values(backend)], 1)


@functools.cache
def view_orders() -> ViewOrders:
    """Which planes to read; see `ViewOrders`."""
    order, changed = packing.REFLECTION.order, packing.REFLECTION.changed
    reflected = np.arange(packing.ROW_BYTES)
    reflected[changed] = packing.ROW_BYTES + np.arange(len(changed))
    plain = [packing.perspective_order(player) for player in range(2)]
    marks = packing.LAYOUT.slots["absent"].offset
    own = [np.append(packing.action_order(player), marks) for player in range(2)]
    state = [*plain, *(reflected[view[order]] for view in plain)]
    actions = [*own, *(reflected[view] for view in own)]
    return ViewOrders(np.stack(state).astype(np.int64), np.stack(actions).astype(np.int64))


def add_noise(state: Any, coin: tf.Tensor, *, scale: float, seed: tf.Tensor) -> tf.Tensor:
    """Gaussian noise on positions, own speeds and percent of the views whose coin is set.

    Args:
      state: uint8 `[views, time, ROW_BYTES]`.
      coin: bool `[views]`.
      scale: σ in game units; each field multiplies it by its own `noise` rule, percent stays ≥ 0.
        Columns that the replay did not record stay as they are.
      seed: int `[2]`.
    """
    views = tf.where(coin)[:, 0]
    shape = tf.stack([tf.shape(views)[0], tf.shape(state)[1], packing.NOISE_BYTES // 4])
    as_bytes = tf.gather(state[..., : packing.NOISE_BYTES], views)
    values = tf.bitcast(tf.reshape(as_bytes, tf.concat([shape, [4]], 0)), tf.float32)
    draws = tf.random.stateless_normal(shape, seed, alg="philox")
    noised = values + draws * (packing.noise_scales() * np.float32(scale))
    place = packing.LAYOUT.slots["absent"].offset
    absent = tf.gather(state[..., place : place + 1], views) & packing.noise_bits()
    noised = tf.where(absent > 0, values, tf.maximum(noised, packing.noise_floors()))
    noised = tf.bitcast(noised, tf.uint8)
    noised = tf.reshape(noised, tf.shape(as_bytes))
    rest = tf.gather(state[..., packing.NOISE_BYTES :], views)
    # The whole view is written back: rows are long, and a scatter of short spans is slow.
    return tf.tensor_scatter_nd_update(state, views[:, None], tf.concat([noised, rest], -1))
