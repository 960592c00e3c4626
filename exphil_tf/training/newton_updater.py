"""Maximum likelihood of a few weights, batch by batch and without a learning rate.

Newton's method for a stream: the curvature of all batches so far is kept, and each batch moves the
weights by its own gradient over that sum, so that steps fall as 1 / n and the weights end where one
fit to all frames would (Bercu, Godichon & Portier 2020, https://arxiv.org/abs/1904.07908). A
logistic regression learnt by an optimizer of the Adam kind is as sure of itself as learning rate
and length of the run allow; this one is as sure as the games are.
"""

import contextlib
from typing import Any

import keras
import tensorflow as tf


class NewtonUpdater:
    """Fits one vector.

    Args:
      variable: float32 `[n]`, starting at what is thought likeliest before any frame was seen.
      ridge: curvature of that prior belief, in frames.
    """

    is_accumulating = False

    def __init__(self, variable: keras.Variable, *, ridge: float):
        self.variables = [variable]
        prior = ridge * tf.eye(variable.shape[0], dtype=tf.float64)
        self._curvature = tf.Variable(prior, trainable=False, name="curvature")

    def state(self) -> dict[str, tf.Variable]:
        """What a resumed run needs besides the vector, by name."""
        return {"curvature": self._curvature}

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """As of an `Updater`; the weights are a mean over all batches anyhow."""
        return contextlib.nullcontext()

    def update(self, gradient: Any, curvature: Any) -> None:
        """One update; nothing changes where a number of it is NaN or infinite.

        Args:
          gradient: float32 `[n]`, of the loss summed over frames.
          curvature: float32 `[n, n]`, second derivative of the same.
        """
        is_finite = tf.reduce_all(tf.math.is_finite(gradient))
        is_finite &= tf.reduce_all(tf.math.is_finite(curvature))
        slope, bend = (
            tf.where(is_finite, tf.cast(part, tf.float64), tf.constant(0.0, tf.float64))
            for part in (gradient, curvature)
        )
        total = self._curvature + bend
        step = tf.linalg.cholesky_solve(tf.linalg.cholesky(total), slope[:, None])[:, 0]
        self._curvature.assign(total)
        vector = self.variables[0]
        vector.assign(vector.value - tf.cast(step, vector.dtype))
