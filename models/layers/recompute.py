"""Gradient checkpointing: a function's intermediate results are computed again for its gradient.

Only what goes in and comes out is kept (Chen et al. 2016, https://arxiv.org/abs/1604.06174): memory
for time. `keras.remat` is not enough: under XLA its second pass is merged with the first, which
keeps everything, and dropout would draw another mask. Here the second pass depends on the incoming
gradient, in a way that no compiler may simplify, and dropout replays the seeds that it drew.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras

from models.layers.backend import ops
from models.layers.quantized import ranges, ranges_of_second_pass
from models.layers.temporal import Tensor

Nest = Any
"""A tensor, or a tuple of nests."""

_SEEDS: contextvars.ContextVar["_Seeds | None"] = contextvars.ContextVar("seeds", default=None)


class _Seeds:
    """Seeds that dropout drew in the first pass, in order; drawn again in the second."""

    def __init__(self, drawn: list[Tensor] | None = None):
        self.drawn = [] if drawn is None else drawn
        self._rest = None if drawn is None else iter(drawn)

    def take(self, draw: Callable[[], Tensor]) -> Tensor:
        if self._rest is not None:
            return next(self._rest)
        self.drawn.append(draw())
        return self.drawn[-1]


def drawn_once(draw: Callable[[], Tensor]) -> Tensor:
    """A random seed that is the same when a function is computed again; else just `draw()`."""
    seeds = _SEEDS.get()
    return draw() if seeds is None else seeds.take(draw)


@contextlib.contextmanager
def _seeds(seeds: _Seeds) -> Iterator[None]:
    token = _SEEDS.set(seeds)
    try:
        yield
    finally:
        _SEEDS.reset(token)


def recomputed(function: Callable[..., Nest], *inputs: Nest) -> Nest:
    """Returns `function(*inputs)`, which is computed again when its gradient is wanted.

    Args:
      function: of nests of tensors; it may read variables, and draw dropout's masks.
      inputs: gradients flow to its float tensors, and to trainable variables.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.remat(function)(*inputs)
    import tensorflow as tf  # only this backend's branch may need it

    flat = keras.tree.flatten(inputs)
    structure: list[Nest] = []
    seeds, mode = _Seeds(), ranges_of_second_pass()

    def call(*tensors: Tensor) -> list[Tensor]:
        result = function(*keras.tree.pack_sequence_as(inputs, tensors))
        structure[:] = [result]
        return keras.tree.flatten(result)

    @tf.custom_gradient
    def run(*tensors: Tensor) -> Any:
        with _seeds(seeds):
            outputs = call(*tensors)

        def gradient(*upstream: Tensor, variables: Any = ()) -> Any:
            again = _after(upstream, tensors)
            with tf.GradientTape() as tape, _seeds(_Seeds(seeds.drawn)), ranges(mode):
                tape.watch([x for x in again if x.dtype.is_floating])
                outputs = call(*again)
            sources: Any = [*again, *variables]
            grads: Any = tape.gradient(outputs, sources, list(upstream))
            of_inputs, of_variables = grads[: len(again)], grads[len(again) :]
            return (of_inputs, of_variables) if variables else of_inputs

        return outputs, gradient

    outputs = run(*flat)
    return keras.tree.pack_sequence_as(structure[0], keras.tree.flatten(outputs))


def _after(upstream: tuple[Tensor, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The same tensors, but known only once the incoming gradient is: 0 * x may be NaN."""
    first = next(x for x in upstream if x.dtype.is_floating)
    nothing = ops.cast(ops.reshape(first, (-1,))[0], "float32") * 0.0
    return [x + ops.cast(nothing, x.dtype) if x.dtype.is_floating else x for x in tensors]
