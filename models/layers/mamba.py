"""The Mamba block in the paper's form (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, §3.4).

`x + out(scan(silu(conv(u))) * silu(z))` with `u, z = in(rms(x))`. A is learned as `-exp(A_log)`,
delta is per channel through a low-rank projection and softplus, and D is a skip. The convolution is
causal and depthwise. Resets cut the convolution's view as well as the scan's state.

Dropout falls on what the block adds, never on `x`: a mask on the residual stream takes from a frame
what the blocks before put in, and the last one hides part of what the head should read. On
real games (307 to learn from, width 128, two blocks, dropout 0.1, 400 updates) the branch gave
1.313 and 1.294 nats on validation games, the stream 1.357 and 1.306 with the same two seeds.

Weights start as in the paper: delta log-uniform in its projection's bias, that projection's kernel
within `delta_rank ** -0.5` of 0 (1.314 with the first seed; 1.313 with Glorot's narrower bound,
which is no difference). Two habits of the paper's code were no better, so they were left out: a
random bias of the convolution (1.351) and `out_proj` divided by the square root of the number of
blocks (1.319).
"""

import functools
from typing import Any

import numpy as np

from models.layers.backend import ops
from models.layers.causal_convolution import add_convolution, convolve, convolve_frame
from models.layers.channel_scale import RMSNorm
from models.layers.delta_bias import initial_delta_bias
from models.layers.dense import dense
from models.layers.dropout import Dropout
from models.layers.seeding import derive_seed
from models.layers.selective_scan import Selection, selective_scan, selective_scan_step
from models.layers.temporal import State, TemporalLayer, Tensor
from models.quantization_config import Rounding


class MambaBlock(TemporalLayer):
    """One residual Mamba block, width in equals width out.

    State: the last `conv_size - 1` inputs of the convolution `[batch, conv_size - 1, inner]`, and
    the scan's state `[batch, state_size, inner]`, both float32.

    Args:
      width: features in and out.
      state_size: states per inner channel.
      expand_factor: inner channels as a multiple of `width`.
      conv_size: frames under the convolution.
      dropout: share of the branch's outputs that is zeroed while training.
      seed: initial weights and dropout are functions of it.
      quantize: how operands of the four projections are rounded to 8 bits; None for not at all.
        Convolution and scan stay float: no matrix products, and 3 % of the weights.
    """

    def __init__(
        self,
        width: int,
        *,
        state_size: int = 16,
        expand_factor: int = 2,
        conv_size: int = 4,
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
        self.delta_rank = max(width // 16, 1)
        self.seed = seed

        self.norm = RMSNorm(epsilon=1e-6, name="norm")
        options: dict[str, Any] = {"seed": seed, "quantize": quantize}
        self.in_proj = dense(2 * self.inner, "in_proj", use_bias=False, **options)
        selected = self.delta_rank + 2 * state_size
        self.x_proj = dense(selected, "x_proj", use_bias=False, **options)
        self.delta_proj = dense(
            self.inner,
            "delta_proj",
            kernel_bound=self.delta_rank**-0.5,
            bias_initializer=functools.partial(initial_delta_bias, seed),
            **options,
        )
        self.out_proj = dense(width, "out_proj", use_bias=False, **options)
        self.dropout = Dropout(dropout, seed=derive_seed(seed, "dropout"), name="dropout")

    def _initial_a_log(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """S4D-real: state n of every channel decays at rate n + 1."""
        rates = np.broadcast_to(np.log(np.arange(1, shape[0] + 1))[:, None], shape)
        return ops.convert_to_tensor(rates, dtype=dtype)

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.norm.build((None, self.width))
        self.in_proj.build((None, self.width))
        self.x_proj.build((None, self.inner))
        self.delta_proj.build((None, self.delta_rank))
        self.out_proj.build((None, self.inner))
        self.conv_kernel, self.conv_bias = add_convolution(
            self, self.conv_size, self.inner, seed=self.seed
        )
        self.a_log = self.add_weight(
            name="a_log",
            shape=(self.state_size, self.inner),
            initializer=self._initial_a_log,
            dtype="float32",
            autocast=False,
        )
        self.skip = self.add_weight(
            name="skip", shape=(self.inner,), initializer="ones", dtype="float32", autocast=False
        )

    def initial_state(self, batch_size: int) -> State:
        """Returns zeros: (convolution inputs, scan state)."""
        return (
            ops.zeros((batch_size, self.conv_size - 1, self.inner), "float32"),
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
        u, z = ops.split(self.in_proj(self.norm(x)), 2, axis=-1)
        u, history = convolve_frame(
            u, history, is_resetting, kernel=self.conv_kernel, bias=self.conv_bias
        )
        y, hidden = selective_scan_step(
            ops.cast(u, "float32"), self._selection(u), hidden, is_resetting=is_resetting
        )
        return x + self._branch(y, z), (history, hidden)

    def unroll(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool = False
    ) -> tuple[Tensor, State]:
        """See `TemporalLayer.unroll`."""
        history, hidden = state
        u, z = ops.split(self.in_proj(self.norm(x)), 2, axis=-1)
        u, history = convolve(
            u, history, is_resetting, kernel=self.conv_kernel, bias=self.conv_bias
        )
        y, hidden = selective_scan(u, self._selection(u), hidden, is_resetting=is_resetting)
        return x + self.dropout(self._branch(y, z), training=training), (history, hidden)

    def _selection(self, u: Tensor) -> Selection:
        """Returns the scan's parameters, chosen by the input, in float32."""
        rank, states = self.delta_rank, self.state_size
        low, b, c = ops.split(self.x_proj(u), [rank, rank + states], axis=-1)
        delta = ops.softplus(ops.cast(self.delta_proj(low), "float32"))
        a = -ops.exp(ops.convert_to_tensor(self.a_log))
        skip = ops.convert_to_tensor(self.skip)
        return Selection(delta, a, ops.cast(b, "float32"), ops.cast(c, "float32"), skip)

    def _branch(self, y: Tensor, z: Tensor) -> Tensor:
        """Returns what the block adds to the residual stream."""
        return self.out_proj(ops.cast(y, z.dtype) * ops.silu(z))
