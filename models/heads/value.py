"""A value head: what is still to be gained in a game, read from what the controller head reads.

It stands beside a policy and not in it. A policy's variables, weights and exports are the same with
and without one; who learns values holds the head and saves it.
"""

from collections.abc import Sequence

import keras

from models.layers.backend import ops
from models.layers.dense import dense
from models.layers.seeding import derive_seed
from models.layers.temporal import Tensor


class ValueHead(keras.layers.Layer):
    """A small relu network with one output, which starts at 0 everywhere. It computes in float32.

    Call shapes: `head(hidden [batch, time, width])` gives `[batch, time]`, `head([batch, width])`
    `[batch]`. `hidden` is `ActionEvaluation.hidden`, `PolicyStep.hidden` or what
    `Policy.unroll_hidden` returns: the backbone's output and the previous action.

    Args:
      width: of its input.
      hidden: widths of its layers.
      stop_gradient: values don't teach the backbone; otherwise gradients flow into `hidden`.
      seed: initial weights are a function of it.
    """

    def __init__(
        self,
        width: int,
        *,
        hidden: Sequence[int] = (128,),
        stop_gradient: bool = True,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.width = width
        self.stop_gradient = stop_gradient
        own = derive_seed(seed, "value")
        self.hidden_layers = [
            dense(units, f"dense_{i}", seed=own, activation="relu", dtype="float32")
            for i, units in enumerate(hidden)
        ]
        self.output_proj = dense(1, "output", seed=own, kernel_bound=0.0, dtype="float32")
        self.build()

    def build(self, input_shape: tuple | None = None) -> None:
        """Builds every weight; the shapes follow from the arguments alone."""
        if self.built:
            return
        fan_in = self.width
        for layer in self.hidden_layers:
            layer.build((None, fan_in))
            fan_in = layer.units
        self.output_proj.build((None, fan_in))
        self.built = True

    def call(self, hidden: Tensor) -> Tensor:
        """Values, float32 `[…]`, of hidden `[…, features]`."""
        x = ops.cast(hidden, "float32")
        x = ops.stop_gradient(x) if self.stop_gradient else x
        for layer in self.hidden_layers:
            x = layer(x)
        return self.output_proj(x)[..., 0]
