"""Controller heads: six components, either conditioned on those before them or independent.

Both heads give each component `head_hidden` relu units of its own and read its logits from them.
The autoregressive head adds, to the units of every later component, a row per chosen bucket (and
per pressed button). Training teacher-forces all of that in three matrix products, with a strictly
block-triangular conditioning matrix and a block-diagonal output matrix; play walks the components
in one graph and adds the same rows. A residual-stream decoder (slippi-ai) costs twelve products
for the same dependence.

The eight buttons are independent of one another, given what the head reads. A chain of them (each
adds to the logits of later ones; all 256 patterns tried at once in play, for five more operations)
gained nothing: 1.219 nats with and without after 400 updates, and added afterwards to a policy at
1.115, fitted on half of the held-out frames, it was 0.0001 worse on the others.

What a policy knows of the previous action decides how it starts. Nearly all of what a component
will be follows from what it was, so with `prev_action_buckets` a head reads the previous action in
buckets: they add rows to the units, and rows to the logits past all units. `start_at` makes a head
say just how often each bucket follows the one before it; training begins there, not at what any
bucket costs. Without it the previous action is 13 numbers beside the backbone's output, and a
policy finds out by itself that it may hold what it holds.

Sampling takes its randomness as an input, `num_uniforms` numbers in [0, 1) per row, one for every
logit: buttons first, then each axis, then the shoulder. A bucket is
`argmax(logits + temperature * gumbel(u))` and a button is pressed if
`logit + temperature * logistic(u) > 0`, which are exact samples of the tempered distribution, and
the mode at temperature 0. Inverse-CDF sampling needs one uniform per component but more operations,
and divides by the temperature.
"""

from collections.abc import Mapping

import keras
import numpy as np

from exphil_tf.features.controller import COMPONENTS
from models.heads.distribution import Buckets, Logits
from models.heads.previous_action import PreviousAction
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
      config: buckets, hidden units, and how the previous action is read.
      num_previous: numbers of the previous action at the end of what the head reads: 13, or 0 where
        it is not known.
      seed: initial weights are a function of it.
      quantize: how operands of matrix products are rounded to 8 bits; None for not at all.
    """

    def __init__(
        self,
        config: HeadConfig,
        *,
        num_previous: int = 0,
        seed: int = 0,
        quantize: Rounding | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = config
        self.num_previous = num_previous
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
        has_skip = config.prev_action_buckets and num_previous
        self.previous_action = PreviousAction(config.codec) if has_skip else None
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
        numbers = 0 if self.previous_action is None else self.num_previous
        self.unit_proj.build((None, input_shape[-1] - numbers))
        if self.unit_quantizer is not None:
            self.unit_quantizer.build()
        self.output_kernel = self._kernel("output", (self.units, self.num_logits))
        self.output_bias = self.add_weight(
            name="output_bias", shape=(self.num_logits,), initializer="zeros"
        )
        if self.previous_action is not None:
            # A row per button that is held and per bucket of the others, as logits are ordered.
            width = len(COMPONENTS) * self.units
            self.previous_kernel = self._kernel("previous", (self.num_logits, width))
            self.skip_kernel = self._kernel("skip", (self.num_logits, self.num_logits))

    def _kernel(self, name: str, shape: tuple[int, int]) -> keras.Variable:
        initializer = keras.initializers.GlorotUniform(derive_seed(self.seed, name))
        return self.add_weight(name=f"{name}_kernel", shape=shape, initializer=initializer)

    def start_at(self, rates: Mapping[str, np.ndarray]) -> None:
        """Makes the head say how likely each bucket is after the one before it, and nothing more.

        Args:
          rates: of `features.transitions.TransitionCounts`.

        Raises: ValueError: if the head has no skip.
        """
        if self.previous_action is None:
            raise ValueError("head.start_at: want prev_action_buckets. Received: none")
        skip, bias = np.zeros(self.skip_kernel.shape), np.zeros(self.num_logits)
        log_odds = np.log(rates["buttons"][..., 1]) - np.log(rates["buttons"][..., 0])
        buttons = np.arange(self.sizes["buttons"])
        bias[buttons] = log_odds[:, 0]
        skip[buttons, buttons] = log_odds[:, 1] - log_odds[:, 0]
        for name in COMPONENTS[1:]:
            skip[self.spans[name], self.spans[name]] = np.log(rates[name])
        self.skip_kernel.assign(skip)
        self.output_bias.assign(bias)
        self.output_kernel.assign(np.zeros(self.output_kernel.shape))

    def unroll(self, hidden: Tensor, targets: Buckets | None = None) -> Logits:
        """Returns logits of every component, teacher-forced on `targets`.

        Args:
          hidden: `[…, width]`, usually `[batch, time, width]`; the previous action's numbers last.
          targets: buckets `[…]` (buttons `[…, 8]`); an independent head ignores them.
        """
        if self.previous_action is None:
            logits = self._logits(self.unit_proj(hidden), targets)
        else:
            hidden, controller = self._split(hidden)
            previous = self.previous_action.one_hot(controller, "float32")
            units = self.unit_proj(hidden)
            kernel = ops.cast(self.previous_kernel, units.dtype)
            units += ops.matmul(ops.cast(previous, units.dtype), kernel)
            skip = ops.matmul(previous, ops.cast(self.skip_kernel, "float32"))
            logits = self._logits(units, targets) + skip
        return {name: logits[..., span] for name, span in self.spans.items()}

    def _logits(self, units: Tensor, targets: Buckets | None) -> Tensor:
        """float32 `[…, num_logits]` that the units give, once the true action is known."""
        units = self._teacher_forced(units, targets)
        logits = ops.matmul(self._active(units), self._output_matrix(units.dtype))
        return ops.cast(logits + ops.cast(self.output_bias, units.dtype), "float32")

    def _split(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """The backbone's output, and the previous action's numbers if there are any."""
        if not self.num_previous:
            return hidden, None
        return hidden[..., : -self.num_previous], hidden[..., -self.num_previous :]

    def step(self, hidden: Tensor, uniforms: Tensor, temperature: Tensor) -> tuple[Buckets, Logits]:
        """Samples an action.

        Args:
          hidden: `[batch, width]`, the previous action's numbers last.
          uniforms: float32 `[batch, num_uniforms]` in [0, 1), consumed.
          temperature: float32 `[]` or `[batch]`, at least 0; 0 gives the mode.

        Returns: int32 buckets `[batch]` (buttons `[batch, 8]` of 0/1), and the logits they were
          drawn from, before temperature.
        """
        hidden, controller = self._split(hidden)
        buckets, logits = self.step_frame(
            hidden[:, None], controller, uniforms=uniforms, temperature=temperature
        )
        return {name: x[:, 0] for name, x in buckets.items()}, {
            name: logits[:, 0, span] for name, span in self.spans.items()
        }

    def step_frame(
        self, hidden: Tensor, controller: Tensor | None, *, uniforms: Tensor, temperature: Tensor
    ) -> tuple[Buckets, Tensor]:
        """As `step`, with an axis of one frame behind the batch in all that it reads and returns.

        With it, look-ups of rows and the joining of buckets need no reshape.

        Args:
          hidden: the backbone's output `[batch, 1, width]`.
          controller: the previous action's numbers `[batch, num_previous]`; None without.
          uniforms: as in `step`.
          temperature: as in `step`.

        Returns: buckets, and logits float32 `[batch, 1, num_logits]`.
        """
        units, skip, bias = self._read(hidden, controller)
        kernel = self._output_matrix(units.dtype)
        noise = self._noise(uniforms, temperature)
        # What is the same for all of a component's buckets is added to all of them at once.
        noise = ops.split(noise if skip is None else noise - skip, self._stops(), axis=2)
        buckets, logits = {}, []
        for index, (name, span) in enumerate(self.spans.items()):
            logit = matmul(self._active(units), kernel[:, span])
            logit = ops.cast(logit if bias is None else logit + bias[span], "float32")
            noisy = logit - noise[index]
            chosen = noisy > 0 if name == "buttons" else last_argmax(noisy)
            buckets[name] = ops.cast(chosen, "int32")
            logits.append(logit)
            if index + 1 < len(COMPONENTS):
                units = self._conditioned(units, name, buckets[name])
        joined = ops.concatenate(logits, axis=-1)
        return buckets, joined if skip is None else joined + skip

    def _read(
        self, hidden: Tensor, controller: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Units `[batch, 1, …]`; what the previous action adds to logits; what is added besides."""
        if self.previous_action is None or controller is None:
            if controller is not None:
                row = ops.cast(controller[:, None], hidden.dtype)
                hidden = ops.concatenate([hidden, row], axis=-1)
            units = self.unit_proj(hidden)
            return units, None, ops.cast(self.output_bias, units.dtype)
        # Exactly one of the shoulder's rows counts: the bias of all logits goes with it.
        place = (np.arange(self.num_logits) >= self.spans["shoulder"].start)[:, None]
        skip = ops.cast(self.skip_kernel, "float32")
        skip = skip + place.astype(np.float32) * ops.cast(self.output_bias, "float32")
        table = ops.concatenate([ops.cast(self.previous_kernel, "float32"), skip], axis=-1)
        table = ops.pad(table, [(0, 1), (0, 0)])  # a row of zeros for buttons that are up
        rows = take_rows(table, self.previous_action.rows(controller))
        added = ops.sum(rows, axis=1, keepdims=True)
        count = len(COMPONENTS) * self.units
        of_units, skip = ops.split(added, [count], axis=-1)
        units = self.unit_proj(hidden)
        return units + ops.cast(of_units, units.dtype), skip, None

    def _stops(self) -> list[int]:
        """Where components but the first begin among the logits."""
        return [span.stop for span in self.spans.values()][:-1]

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

    def _noise(self, uniforms: Tensor, temperature: Tensor) -> Tensor:
        """What is *subtracted* from logits, `[batch, 1, num_logits]`, by temperature.

        Gumbel noise is `-log(log(1 / u))` and logistic noise `-log(1 / u - 1)`: both share a
        reciprocal and a logarithm.
        """
        u = ops.clip(uniforms, LOWEST_UNIFORM, 1.0 - LOWEST_UNIFORM)
        buttons, rest = ops.split(1.0 / u, [self.sizes["buttons"]], axis=1)
        noise = ops.log(ops.concatenate([buttons - 1.0, ops.log(rest)], axis=1))
        return noise[:, None] * ops.reshape(ops.cast(temperature, "float32"), (-1, 1, 1))

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
        self.condition_kernel = self._kernel("condition", self.condition_mask.shape)

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
