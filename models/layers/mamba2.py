"""The Mamba-2 block (Dao and Gu 2024, https://arxiv.org/abs/2405.21060, §7).

`z, u, b, c, delta = in(rms(x))`, `u, b, c = silu(conv(u, b, c))`, then
`x + out(rms(scan(delta * u) + D * u) * silu(z)))`, the norm over the gated product. Everything that
the scan selects by comes of one projection, and decay is one number per head and frame, so that the
scan is matrix products. Resets cut the convolution's view as well as the scan's state.

Dropout falls on what the block adds, as in `models.layers.mamba`.
"""

import functools
from typing import Any

import keras
import numpy as np

from models.layers.backend import ops
from models.layers.causal_convolution import add_convolution, convolve, convolve_frame
from models.layers.channel_scale import RMSNorm, scale_channels
from models.layers.delta_bias import initial_delta_bias
from models.layers.dense import dense
from models.layers.dropout import Dropout
from models.layers.seeding import derive_seed
from models.layers.state_space_duality import Flow, chunked_scan, per_channel, scan_frame
from models.layers.temporal import State, TemporalLayer, Tensor
from models.quantization_config import Rounding

FASTEST_DECAY = 16.0
"""Decay rates start uniform in [1, 16], as in the paper's code."""
MOST_DECAY = 20.0
"""A frame forgets by exp(-20) at most, which is nothing in float32: sums of log decays, whose
differences count, so stay small enough to be exact."""


class Mamba2Block(TemporalLayer):
    """One residual Mamba-2 block, width in equals width out.

    State: the last `conv_size - 1` inputs of the convolution
    `[batch, conv_size - 1, inner + 2 * state_size]`, and the scan's state
    `[batch, state_size, inner]`, both float32.

    Args:
      width: features in and out.
      state_size: states per inner channel.
      expand_factor: inner channels as a multiple of `width`.
      conv_size: frames under the convolution.
      num_heads: groups of inner channels that decay together; divides them.
      dropout: share of the branch's outputs that is zeroed while training.
      seed: initial weights and dropout are functions of it.
      quantize: how operands of both projections are rounded to 8 bits; None for not at all.
        Convolution and scan stay float: their products have no weights.
    """

    def __init__(
        self,
        width: int,
        *,
        state_size: int,
        expand_factor: int,
        conv_size: int,
        num_heads: int,
        dropout: float = 0.0,
        seed: int = 0,
        quantize: Rounding | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.width = width
        self.state_size = state_size
        self.inner = width * expand_factor
        self.conv_size = conv_size
        self.heads = num_heads
        self.mixed = self.inner + 2 * state_size
        self.seed = seed

        self.norm = RMSNorm(epsilon=1e-6, name="norm")
        self.gate_norm = RMSNorm(epsilon=1e-6, name="gate_norm")
        options: dict[str, Any] = {"use_bias": False, "seed": seed, "quantize": quantize}
        self.in_proj = dense(self.inner + self.mixed + self.heads, "in_proj", **options)
        self.out_proj = dense(width, "out_proj", **options)
        self.dropout = Dropout(dropout, seed=derive_seed(seed, "dropout"), name="dropout")

    def _initial_a_log(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        rng = np.random.default_rng(derive_seed(self.seed, "a_log"))
        return ops.convert_to_tensor(np.log(rng.uniform(1.0, FASTEST_DECAY, shape)), dtype=dtype)

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.norm.build((None, self.width))
        self.in_proj.build((None, self.width))
        self.gate_norm.build((None, self.inner))
        self.out_proj.build((None, self.inner))
        self.conv_kernel, self.conv_bias = add_convolution(
            self, self.conv_size, self.mixed, seed=self.seed
        )
        self.delta_bias = self._per_head(
            "delta_bias", functools.partial(initial_delta_bias, self.seed)
        )
        self.a_log = self._per_head("a_log", self._initial_a_log)
        self.skip = self.add_weight(
            name="skip", shape=(self.inner,), initializer="ones", dtype="float32", autocast=False
        )

    def _per_head(self, name: str, initializer: Any) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(self.heads,),
            initializer=initializer,
            dtype="float32",
            autocast=False,
        )

    def initial_state(self, batch_size: int) -> State:
        """Returns zeros: (convolution inputs, scan state)."""
        return (
            ops.zeros((batch_size, self.conv_size - 1, self.mixed), "float32"),
            ops.zeros((batch_size, self.state_size, self.inner), "float32"),
        )

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """See `TemporalLayer.step`."""
        y, state = self.step_frame(x[:, None], state, is_resetting)
        return y[:, 0], state

    def step_frame(
        self, x: Tensor, state: State, is_resetting: Tensor | None
    ) -> tuple[Tensor, State]:
        """As `step`, of `[batch, 1, width]`."""
        history, hidden = state
        z, mixed, delta = self._project(x)
        mixed, history = convolve_frame(
            mixed, history, is_resetting, kernel=self.conv_kernel, bias=self.conv_bias
        )
        flow, u = self._flow(mixed, delta)
        y, hidden = scan_frame(flow, hidden, is_resetting)
        return x + self._branch(y, u, z), (history, hidden)

    def unroll(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool = False
    ) -> tuple[Tensor, State]:
        """See `TemporalLayer.unroll`."""
        history, hidden = state
        z, mixed, delta = self._project(x)
        mixed, history = convolve(
            mixed, history, is_resetting, kernel=self.conv_kernel, bias=self.conv_bias
        )
        flow, u = self._flow(mixed, delta)
        y, hidden = chunked_scan(flow, hidden, is_resetting)
        branch = self._branch(y, u, z)
        return x + self.dropout(branch, training=training), (history, hidden)

    def _project(self, x: Tensor) -> list[Tensor]:
        """Returns the gate, what the convolution mixes, and delta before softplus."""
        parts = [self.inner, self.inner + self.mixed]
        return ops.split(self.in_proj(self.norm(x)), parts, axis=-1)

    def _flow(self, mixed: Tensor, delta: Tensor) -> tuple[Flow, Tensor]:
        """Returns the scan's input, and what of it goes around the scan; float32."""
        parts = [self.inner, self.inner + self.state_size]
        u, b, c = ops.split(ops.cast(mixed, "float32"), parts, axis=-1)
        delta = ops.cast(delta, "float32") + ops.convert_to_tensor(self.delta_bias)
        delta = ops.softplus(delta)
        rate = ops.exp(ops.convert_to_tensor(self.a_log))
        log_decay = -ops.minimum(delta * rate, MOST_DECAY)
        return Flow(u * per_channel(delta, self.inner), log_decay, b, c), u

    def _branch(self, y: Tensor, u: Tensor, z: Tensor) -> Tensor:
        """Returns what the block adds to the residual stream."""
        y = ops.cast(y + scale_channels(u, ops.convert_to_tensor(self.skip)), z.dtype)
        return self.out_proj(self.gate_norm(y * ops.silu(z)))
