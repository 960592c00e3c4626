"""Dropout whose random bits cost next to nothing in a compiled graph.

`keras.layers.Dropout` under XLA on CPU takes 0.1 to 0.4 s for 64 x 60 x 256 activations (measured),
more than a Mamba block's forward and backward pass; this one takes 1 ms. Dropout needs no such
randomness: here each activation's index is hashed with a fresh seed (the finalizer "lowbias32" of
Wellons 2018, https://nullprogram.com/blog/2018/07/31/, twice), a handful of integer operations that
fuse with the multiplication.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import numpy as np

from models.layers.backend import ops
from models.layers.recompute import drawn_once
from models.layers.temporal import Tensor

_SHARE: contextvars.ContextVar[int] = contextvars.ContextVar("share_of_batch", default=0)


@contextlib.contextmanager
def share_of_batch(index: int) -> Iterator[None]:
    """In graphs that are traced inside, activations are the `index`-th of equal shares of a batch.

    Shares lie along the first axis. Each gets its part of the mask that the whole batch would get.
    """
    token = _SHARE.set(index)
    try:
        yield
    finally:
        _SHARE.reset(token)


class Dropout(keras.layers.Layer):
    """Zeroes a share of activations while training and scales up the rest.

    The seed generator's state is a variable of the layer: it is saved, restored, and makes every
    call draw another mask. Call shape: any static shape (the first axis may be unknown).

    Args:
      rate: share to zero, `0 <= rate < 1`.
      seed: where the sequence of masks starts.
    """

    def __init__(self, rate: float, *, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Returns `x` itself unless `training` is True (a Python bool)."""
        if not training or self.rate == 0.0:
            return x
        seed = drawn_once(lambda: ops.cast(self.seed_generator.next(), "uint32"))
        threshold = np.uint32(round(self.rate * 2**32))
        keep = ops.cast(_hashed_bits(ops.shape(x), seed) >= threshold, x.dtype)
        return x * keep * (1.0 / (1.0 - self.rate))


def _hashed_bits(shape: tuple, seed: Tensor) -> Tensor:
    """uint32 of that shape, a function of seed (uint32 `[2]`) and position."""
    count = ops.prod(ops.stack(list(shape))) if None in shape else int(np.prod(shape))
    index = ops.cast(ops.arange(count, dtype="int32"), "uint32")
    if _SHARE.get():
        index += ops.cast(_SHARE.get() * count, "uint32")
    # Odd multiples of the index differ per seed; two rounds break what regularity remains.
    bits = _mix(index + _mix(seed[0] + np.uint32(0x9E3779B9)))
    return ops.reshape(_mix(ops.bitwise_xor(bits, _mix(seed[1]))), shape)


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(shift))) * np.uint32(factor)
    return ops.bitwise_xor(x, ops.bitwise_right_shift(x, np.uint32(16)))
