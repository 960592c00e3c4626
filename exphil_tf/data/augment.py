"""Mirror and noise on batches of packed rows, inside the input graph.

Both follow the tables of `exphil_tf.features.packing`, so a mirrored batch equals a batch of
mirrored shards bit for bit. An unroll is augmented as a whole: one mirror coin and one noise coin
for all its frames, as the network would otherwise see a world that flips from frame to frame.
Order: mirror, then noise (they commute but for the order).
"""

import numpy as np
import tensorflow as tf

from exphil_tf.features import packing


def _reflect(rows: tf.Tensor, table: packing.MirrorTable, coin: tf.Tensor) -> tf.Tensor:
    """`(rows[order] ^ xor) + add` where `coin`; rows uint8 `[batch, time, bytes]`."""
    on = tf.cast(coin, tf.uint8)[:, None, None]
    swapped = np.flatnonzero(table.order != np.arange(len(table.order)))
    if swapped.size:
        low, high = int(swapped[0]), int(swapped[-1]) + 1
        middle = rows[..., low:high]
        other = tf.gather(middle, table.order[low:high] - low, axis=-1)
        middle = tf.where(coin[:, None, None], other, middle)
        rows = tf.concat([rows[..., :low], middle, rows[..., high:]], -1)
    return tf.bitwise.bitwise_xor(rows, on * table.xor) + on * table.add


def mirror(state: tf.Tensor, actions: tf.Tensor, coin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Left-right reflection of the unrolls whose coin is set, labels included.

    Args:
      state: uint8 `[batch, time, ROW_BYTES]`.
      actions: uint8 `[batch, time + 1, ACTION_BYTES]`.
      coin: bool `[batch]`.
    """
    return (
        _reflect(state, packing.mirror_table(), coin),
        _reflect(actions, packing.action_mirror_table(), coin),
    )


def add_noise(state: tf.Tensor, coin: tf.Tensor, *, scale: float, seed: tf.Tensor) -> tf.Tensor:
    """Gaussian noise on positions, own speeds and percent of the unrolls whose coin is set.

    Args:
      state: uint8 `[batch, time, ROW_BYTES]`.
      coin: bool `[batch]`.
      scale: σ in game units; each field multiplies it by its own `noise` rule, percent stays ≥ 0.
      seed: int `[2]`.
    """
    values = tf.bitcast(
        tf.reshape(state[..., : packing.NOISE_BYTES], [*state.shape[:2], -1, 4]), tf.float32
    )
    draws = tf.random.stateless_normal(tf.shape(values), seed, alg="philox")
    noised = tf.maximum(
        values + draws * (packing.noise_scales() * np.float32(scale)), packing.noise_floors()
    )
    values = tf.where(coin[:, None, None], noised, values)
    as_bytes = tf.reshape(tf.bitcast(values, tf.uint8), [*state.shape[:2], packing.NOISE_BYTES])
    return tf.concat([as_bytes, state[..., packing.NOISE_BYTES :]], -1)
