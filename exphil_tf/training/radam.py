"""RAdam: Adam whose first steps are not adaptive (Liu et al. 2020; arxiv.org/abs/1908.03265).

Adam's step divides by a root of few squared gradients at first, whose variance is unbounded; a
warm-up hides that. RAdam takes plain momentum until the variance is bounded, then scales the
adaptive step by how well the root is known. Keras has no such optimizer.
"""

import math
from typing import Any

import keras

from models.layers.backend import ops

_BOUNDED = 4.0
"""Length of the approximated average above which the variance is bounded (Algorithm 2)."""


class RAdam(keras.optimizers.Adam):
    """Rectified Adam; arguments and state as of `keras.optimizers.Adam`."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable, and its averages of gradients and squared gradients."""
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations, variable.dtype) + 1
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        corrected = momentum / _rest(self.beta_1, step)
        factor, is_adaptive = _rectification(self.beta_2, step)
        root = ops.sqrt(_rest(self.beta_2, step))
        adaptive = factor * root / (ops.sqrt(velocity) + self.epsilon)
        self.assign_sub(variable, rate * corrected * ops.where(is_adaptive, adaptive, 1.0))


def _rest(beta: float, step: Any) -> Any:
    """1 - β^t; by expm1, as float32 would lose it at first."""
    return -ops.expm1(step * math.log(beta))


def _rectification(beta: float, step: Any) -> tuple[Any, Any]:
    """r_t, and whether the variance is bounded yet."""
    longest = 2 / (1 - beta) - 1
    rest = _rest(beta, step)
    length = longest - 2 * step * (1 - rest) / rest
    known = ops.maximum(length, _BOUNDED + 1e-3)  # keeps the root real where it is not used
    ratio = (known - 4) * (known - 2) * longest / ((longest - 4) * (longest - 2) * known)
    return ops.sqrt(ratio), length > _BOUNDED
