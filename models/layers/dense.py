"""Dense layers with a kernel that is a function of a seed and the layer's name."""

from typing import Any

import keras

from models.layers.quantized import Dense
from models.layers.seeding import derive_seed
from models.quantization_config import Rounding


def dense(
    units: int,
    name: str,
    *,
    seed: int,
    quantize: Rounding | None = None,
    kernel_bound: float | None = None,
    **options: Any,
) -> Dense:
    """Returns a Dense layer with a uniform kernel.

    Args:
      units: width out.
      name: the layer's name, which its seed depends on.
      seed: the owner's seed.
      quantize: how its product's operands are rounded to 8 bits; None for not at all.
      kernel_bound: the kernel starts within this of 0; None for Glorot's bound.
      options: passed to `keras.layers.Dense`.
    """
    own_seed, initializers = derive_seed(seed, name), keras.initializers
    kernel: Any = (
        initializers.GlorotUniform(own_seed)
        if kernel_bound is None
        else initializers.RandomUniform(-kernel_bound, kernel_bound, own_seed)
    )
    return Dense(units, quantize=quantize, kernel_initializer=kernel, name=name, **options)
