"""Dense layers with a kernel that is a function of a seed and the layer's name."""

from typing import Any

import keras

from models.config import Rounding
from models.layers.quantized import Dense
from models.layers.seeding import derive_seed


def dense(
    units: int, name: str, *, seed: int, quantize: Rounding | None = None, **options: Any
) -> Dense:
    """Returns a Dense layer with a Glorot-uniform kernel.

    Args:
      units: width out.
      name: the layer's name, which its seed depends on.
      seed: the owner's seed.
      quantize: how its product's operands are rounded to 8 bits; None for not at all.
      options: passed to `keras.layers.Dense`.
    """
    kernel: Any = keras.initializers.GlorotUniform(derive_seed(seed, name))
    return Dense(units, quantize=quantize, kernel_initializer=kernel, name=name, **options)
