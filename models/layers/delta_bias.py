"""First biases of a scan's step size Δ, as both forms of Mamba draw them."""

import numpy as np

from models.layers.backend import ops
from models.layers.seeding import derive_seed
from models.layers.temporal import Tensor

DELTA_MIN = 1e-3
DELTA_MAX = 0.1


def initial_delta_bias(seed: int, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    """softplus^-1 of a delta drawn log-uniformly from [DELTA_MIN, DELTA_MAX]."""
    rng = np.random.default_rng(derive_seed(seed, "delta_bias"))
    delta = np.exp(rng.uniform(np.log(DELTA_MIN), np.log(DELTA_MAX), shape))
    return ops.convert_to_tensor(delta + np.log(-np.expm1(-delta)), dtype=dtype)
