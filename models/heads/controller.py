"""Controller heads: six components, either conditioned on those before them or independent.

Both heads give each component `head_hidden` relu units of its own and read its logits from them.
The autoregressive head adds, to the units of every later component, a row per chosen bucket (and
per pressed button). Training teacher-forces all of that in three matrix products, with a strictly
block-triangular conditioning matrix and a block-diagonal output matrix; play walks the components
in one graph and adds the same rows. A residual-stream decoder (slippi-ai) costs twelve products
for the same dependence.

Sampling takes its randomness as an input, `num_uniforms` numbers in [0, 1) per row, one for every
logit: buttons first, then each axis, then the shoulder. A bucket is
`argmax(logits + temperature * gumbel(u))` and a button is pressed if
`logit + temperature * logistic(u) > 0`, which are exact samples of the tempered distribution, and
the mode at temperature 0. Inverse-CDF sampling needs one uniform per component but more operations,
and divides by the temperature.
"""

import keras
import numpy as np

from exphil_tf.features.controller import COMPONENTS
from models.heads.distribution import Buckets, Logits
from models.layers.backend import last_argmax, matmul, ops, take_rows
from models.layers.dense import dense
from models.layers.quantized import (
    BLOCKS,
    ActivationQuantizer,
    quantize_fixed,
    quantize_kernel,
)
from models.layers.seeding import derive_seed
from models.layers.temporal import Tensor
from models.policy_config import HeadConfig, Rounding

LOWEST_UNIFORM = 1e-7
"""Uniforms are clipped to stay this far from 0 and 1, where the noise is infinite."""


def unit_block(head_hidden: int) -> int:
    """Units that share a scale: none of two components, as a step knows one after the other."""
    return next((block for block in BLOCKS if head_hidden % block == 0), BLOCKS[-1])


class IndependentHead(keras.layers.Layer):
    """Each component depends on what the head reads alone.

    Args:
      config: buckets and hidden units.
      seed: initial weights are a function of it.
      quantize: how operands of matrix products are rounded to 8 bits; None for not at all.
    """

    def __init__(
        self, config: HeadConfig, *, seed: int = 0, quantize: Rounding | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        self.config = config
        self.seed = seed
        self.rounding: Rounding | None = quantize
        self.sizes = config.codec.sizes
        stops = np.cumsum([self.sizes[name] for name in COMPONENTS])
        self.spans = {
            name: slice(int(stop) - self.sizes[name], int(stop))
            for name, stop in zip(COMPONENTS, stops, strict=True)
        }
        self.num_logits = int(stops[-1])
        self.units = config.head_hidden
        width = len(COMPONENTS) * self.units
        # Its initial weights depend on its name, and bundles hold them under it.
        self.unit_proj = dense(width, "trunk", seed=seed, quantize=quantize)
        self.unit_quantizer = None
        if quantize:
            block = unit_block(self.units)
            self.unit_quantizer = ActivationQuantizer(quantize, block=block, name="unit_quantizer")

    @property
    def num_uniforms(self) -> int:
        """Random numbers that one `step` consumes per row."""
        return self.num_logits

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static width of what the head reads."""
        self.unit_proj.build((None, input_shape[-1]))
        if self.unit_quantizer is not None:
            self.unit_quantizer.build()
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.units, self.num_logits),
            initializer=keras.initializers.GlorotUniform(derive_seed(self.seed, "output")),
        )
        self.output_bias = self.add_weight(
            name="output_bias", shape=(self.num_logits,), initializer="zeros"
        )

    def unroll(self, hidden: Tensor, targets: Buckets | None = None) -> Logits:
        """Returns logits of every component, teacher-forced on `targets`.

        Args:
          hidden: `[…, width]`, usually `[batch, time, width]`.
          targets: buckets `[…]` (buttons `[…, 8]`); an independent head ignores them.
        """
        units = self._teacher_forced(self.unit_proj(hidden), targets)
        logits = ops.matmul(self._active(units), self._output_matrix(units.dtype))
        logits = ops.cast(logits + ops.cast(self.output_bias, units.dtype), "float32")
        return {name: logits[..., span] for name, span in self.spans.items()}

    def step(self, hidden: Tensor, uniforms: Tensor, temperature: Tensor) -> tuple[Buckets, Logits]:
        """Samples an action.

        Args:
          hidden: `[batch, width]`.
          uniforms: float32 `[batch, num_uniforms]` in [0, 1), consumed.
          temperature: float32 `[]` or `[batch]`, at least 0; 0 gives the mode.

        Returns: int32 buckets `[batch]` (buttons `[batch, 8]` of 0/1), and the logits they were
          drawn from, before temperature.
        """
        buckets, logits = self.step_frame(hidden[:, None], uniforms, temperature)
        return {name: x[:, 0] for name, x in buckets.items()}, {
            name: x[:, 0] for name, x in logits.items()
        }

    def step_frame(
        self, hidden: Tensor, uniforms: Tensor, temperature: Tensor
    ) -> tuple[Buckets, Logits]:
        """As `step`, of `[batch, 1, width]` and with that second axis in all that it returns.

        With it, look-ups of rows and the joining of buckets need no reshape.
        """
        units = self.unit_proj(hidden)
        kernel = self._output_matrix(units.dtype)
        bias = ops.cast(self.output_bias, units.dtype)
        noise = self._noise(uniforms, temperature)
        buckets, logits = {}, {}
        for index, (name, span) in enumerate(self.spans.items()):
            logit = matmul(self._active(units), kernel[:, span]) + bias[span]
            logits[name] = ops.cast(logit, "float32")
            noisy = logits[name] - noise[index]
            chosen = noisy > 0 if name == "buttons" else last_argmax(noisy)
            buckets[name] = ops.cast(chosen, "int32")
            if index + 1 < len(COMPONENTS):
                units = self._conditioned(units, name, buckets[name])
        return buckets, logits

    def _active(self, units: Tensor) -> Tensor:
        units = ops.relu(units)
        return units if self.unit_quantizer is None else self.unit_quantizer(units)

    def _output_matrix(self, dtype: str) -> Tensor:
        """`[components * units, num_logits]`: component i's logits read component i's units only.

        A step reads all units for each component, too: splitting them costs more than the zeros.
        """
        owner, unit_owner = self._owners()
        mask = (unit_owner[:, None] == owner[None, :]).astype(np.float32)
        kernel = ops.tile(ops.convert_to_tensor(self.output_kernel), (len(COMPONENTS), 1))
        kernel = ops.cast(kernel, dtype) * ops.cast(mask, dtype)
        return quantize_kernel(kernel) if self.rounding else kernel

    def _owners(self) -> tuple[np.ndarray, np.ndarray]:
        """Which component each logit, and each unit, belongs to."""
        index = np.arange(len(COMPONENTS))
        return np.repeat(index, [self.sizes[n] for n in COMPONENTS]), np.repeat(index, self.units)

    def _noise(self, uniforms: Tensor, temperature: Tensor) -> list[Tensor]:
        """What is *subtracted* from logits, per component, by temperature.

        Gumbel noise is `-log(log(1 / u))` and logistic noise `-log(1 / u - 1)`: both share a
        reciprocal and a logarithm.
        """
        u = ops.clip(uniforms, LOWEST_UNIFORM, 1.0 - LOWEST_UNIFORM)
        buttons, rest = ops.split(1.0 / u, [self.sizes["buttons"]], axis=1)
        noise = ops.log(ops.concatenate([buttons - 1.0, ops.log(rest)], axis=1))
        scale = ops.reshape(ops.cast(temperature, "float32"), (-1, 1, 1))
        stops = [span.stop for span in self.spans.values()][:-1]
        return ops.split(noise[:, None] * scale, stops, axis=2)

    def _teacher_forced(self, units: Tensor, targets: Buckets | None) -> Tensor:
        """Units of all components once the true action is known."""
        del targets
        return units

    def _conditioned(self, units: Tensor, name: str, chosen: Tensor) -> Tensor:
        """Units once the bucket of `name` is chosen; only those of later components change."""
        del name, chosen
        return units


class AutoregressiveHead(IndependentHead):
    """Components in `COMPONENTS` order, each conditioned on all before it."""

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static width of what the head reads."""
        super().build(input_shape)
        # A row per logit, a column per unit; a component only conditions those after it.
        owner, unit_owner = self._owners()
        self.condition_mask = (owner[:, None] < unit_owner[None, :]).astype(np.float32)
        self.condition_kernel = self.add_weight(
            name="condition_kernel",
            shape=self.condition_mask.shape,
            initializer=keras.initializers.GlorotUniform(derive_seed(self.seed, "condition")),
        )

    def _condition_matrix(self, dtype: str) -> Tensor:
        kernel = ops.cast(self.condition_kernel, dtype) * ops.cast(self.condition_mask, dtype)
        if not self.rounding:
            return kernel
        # The buttons' rows enter a product, the others are looked up: two matrices when playing.
        count = self.sizes["buttons"]
        parts = [quantize_kernel(kernel[:count]), quantize_kernel(kernel[count:])]
        return ops.concatenate(parts, axis=0)

    def _teacher_forced(self, units: Tensor, targets: Buckets | None) -> Tensor:
        if targets is None:
            raise ValueError("head.targets: want buckets to teacher-force with. Received: None")
        chosen = [ops.cast(targets["buttons"], units.dtype)]
        for name in COMPONENTS[1:]:
            chosen.append(ops.one_hot(targets[name], self.sizes[name], dtype=units.dtype))
        joined = ops.concatenate(chosen, axis=-1)
        return units + ops.matmul(joined, self._condition_matrix(units.dtype))

    def _conditioned(self, units: Tensor, name: str, chosen: Tensor) -> Tensor:
        rows = self._condition_matrix(units.dtype)[self.spans[name]]
        if name != "buttons":
            return units + take_rows(rows, chosen)
        pressed = ops.cast(chosen, "float32")
        if self.rounding:
            pressed = quantize_fixed(pressed, 0.0, 1.0)  # 0 and 1 are on the grid
        return units + matmul(ops.cast(pressed, rows.dtype), rows)


HEADS: dict[str, type[IndependentHead]] = {
    "autoregressive": AutoregressiveHead,
    "independent": IndependentHead,
}
