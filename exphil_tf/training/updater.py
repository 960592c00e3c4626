"""From gradients to new weights: accumulate, check, clip, apply, average.

The one place that changes weights, shared by imitation and reinforcement learning. Everything runs
inside the caller's compiled function. State is raw `tf.Variable`s, so that a checkpoint holds it.

A batch gives the gradient of the *sum* of its weighted frame losses; the division by the summed
weight happens once per update, so k accumulated batches equal one batch k times as large even where
the batches hold different numbers of valid frames.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from exphil_tf.training.run_config import OptimizerConfig


class UpdateReport(NamedTuple):
    """What one update did."""

    grad_norm: Any
    """float32 `[]`, global norm before clipping."""
    applied: Any
    """bool `[]`, False if a gradient or the loss was NaN or infinite and nothing changed."""


class Updater:
    """Applies gradients to a fixed list of variables.

    Args:
      variables: trainable variables of the model.
      optimizer: built for exactly these variables.
      config: clipping, accumulation, averaging.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
        config: OptimizerConfig,
    ):
        self.variables = list(variables)
        self.optimizer = optimizer
        self.config = config
        self._iterations: Any = optimizer.iterations
        self.is_accumulating = config.accumulation_steps > 1
        copies = self.variables if self.is_accumulating else []
        self._sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in copies]
        self._sum_weight = tf.Variable(tf.zeros([]), trainable=False)
        self._sum_loss = tf.Variable(tf.zeros([]), trainable=False)
        shadows = self.variables if config.ema else []
        self._averages = [tf.Variable(v.value, trainable=False) for v in shadows]

    def state(self) -> dict[str, tf.Variable]:
        """Every variable that a resumed run needs, besides the model's own, by name."""
        named = {f"optimizer/{i}": v.value for i, v in enumerate(self.optimizer.variables)}
        named |= {f"sum/{i}": v for i, v in enumerate(self._sums)}
        named |= {f"average/{i}": v for i, v in enumerate(self._averages)}
        return named | {"sum_weight": self._sum_weight, "sum_loss": self._sum_loss}

    def averages(self) -> list[tuple[keras.Variable, tf.Variable]]:
        """Pairs of model variable and its moving average; empty without `ema`."""
        return list(zip(self.variables, self._averages, strict=True)) if self._averages else []

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model's variables hold their averages inside, and exactly their own values after."""
        raw = [tf.identity(variable.value) for variable, _ in self.averages()]
        try:
            for variable, average in self.averages():
                variable.assign(average)
            yield
        finally:
            for (variable, _), value in zip(self.averages(), raw, strict=True):
                variable.assign(value)

    def restart_averages(self) -> None:
        """Sets every average to its variable's value (after weights came from elsewhere)."""
        for variable, average in self.averages():
            average.assign(variable.value)

    def update(self, gradients: Sequence[Any], *, loss: Any, weight: Any) -> UpdateReport:
        """One update from one batch's gradients.

        Args:
          gradients: of the summed weighted loss, one per variable; None counts as zero.
          loss: float32 `[]`, the sum itself.
          weight: float32 `[]`, sum of the frames' weights, by which both are divided.
        """
        filled = [self._dense(g, v) for g, v in zip(gradients, self.variables, strict=True)]
        return self._apply(filled, loss=loss, weight=weight)

    def accumulate(self, gradients: Sequence[Any], *, loss: Any, weight: Any) -> None:
        """Adds one batch's gradients to the sums; see `update` for the arguments."""
        for total, gradient, variable in zip(self._sums, gradients, self.variables, strict=True):
            total.assign_add(self._dense(gradient, variable))
        self._sum_loss.assign_add(loss)
        self._sum_weight.assign_add(weight)

    def update_accumulated(self) -> UpdateReport:
        """One update from the sums, which are zero afterwards."""
        report = self._apply(
            [v.value() for v in self._sums], loss=self._sum_loss, weight=self._sum_weight
        )
        for variable in (*self._sums, self._sum_weight, self._sum_loss):
            variable.assign(tf.zeros_like(variable))
        return report

    def _apply(self, gradients: list[Any], *, loss: Any, weight: Any) -> UpdateReport:
        scale = 1.0 / tf.maximum(weight, 1e-6)
        gradients = [g * tf.cast(scale, g.dtype) for g in gradients]
        norm = tf.linalg.global_norm(gradients)
        # A NaN anywhere makes the norm NaN, so one number tells for all.
        is_finite = tf.math.is_finite(norm) & tf.math.is_finite(loss) & (weight > 0)

        def change() -> Any:
            self.optimizer.apply(self._clipped(gradients, norm), self.variables)
            self._average()
            return tf.constant(0)

        tf.cond(is_finite, change, lambda: tf.constant(0))
        return UpdateReport(norm, is_finite)

    def _clipped(self, gradients: list[Any], norm: Any) -> list[Any]:
        if not self.config.max_grad_norm:
            return gradients
        scale = tf.minimum(1.0, self.config.max_grad_norm / tf.maximum(norm, 1e-12))
        return [g * tf.cast(scale, g.dtype) for g in gradients]

    def _average(self) -> None:
        if not self._averages:
            return
        # During the first updates the average follows fast, or it would long hold the start.
        done = tf.cast(self._iterations.value, tf.float32)
        decay = tf.minimum(self.config.ema_decay, done / (done + 10.0))
        for variable, average in self.averages():
            average.assign(decay * average + (1.0 - decay) * variable.value)

    @staticmethod
    def _dense(gradient: Any, variable: keras.Variable) -> Any:
        if gradient is None:
            return tf.zeros(variable.shape)
        return tf.convert_to_tensor(gradient)
