"""The loop over frames that every recurrent layer shares: one carried state, one step per frame.

Time is axis 0 here, so that a frame is one contiguous slice. On TensorFlow the loop is a
`tf.while_loop` over statically sized tensors, because `keras.ops.scan` does not compile under XLA
there; every other backend takes `keras.ops.scan`. Both run the same `step`.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras

from models.layers.backend import ops

Nest = Any
"""A tensor, or a tuple of nests."""
Step = Callable[[Nest, Nest], tuple[Nest, Nest]]
"""`(carry, inputs of one frame) -> (carry, outputs of one frame)`."""

_WRITTEN_OUT: contextvars.ContextVar[bool] = contextvars.ContextVar("written_out", default=False)


def time_scan(
    step: Step,
    carry: Nest,
    inputs: Nest,
    *,
    reverse: bool = False,
    like: Nest | None = None,
    unroll: int = 1,
) -> tuple[Nest, Nest]:
    """Runs `step` over the frames of `inputs`, first to last or last to first.

    Args:
      step: `(carry, frame) -> (carry, output)`; carry keeps its shapes and dtypes.
      carry: nest of tensors, the state before the first step.
      inputs: tuple of tensors `[time, …]` with a static number of frames; a step gets `[…]`.
      reverse: walk the frames backwards; outputs still stand at their frame's place.
      like: the output's structure, with shape and dtype of each part (tensors or `TensorSpec`s).
        Without it the first step runs outside the loop to tell, so a step is compiled twice.
      unroll: steps in a turn of the loop: the same numbers, sooner where a turn is dear (a GPU).

    Returns: the carry after the last step, and the outputs stacked to `[time, …]`.
    """
    if _WRITTEN_OUT.get():
        return _written_out(step, carry, inputs, reverse=reverse)
    if keras.backend.backend() != "tensorflow":
        return ops.scan(step, carry, inputs, reverse=reverse, unroll=unroll)
    return _tensorflow_scan(step, carry, inputs, reverse=reverse, like=like, unroll=unroll)


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """Loops traced inside become one step after the other, for graphs in which loops are slow."""
    token = _WRITTEN_OUT.set(True)
    try:
        yield
    finally:
        _WRITTEN_OUT.reset(token)


def is_written_out() -> bool:
    """Whether loops are being written out, where gradients and memory don't matter."""
    return _WRITTEN_OUT.get()


def _written_out(step: Step, carry: Nest, inputs: Nest, *, reverse: bool) -> tuple[Nest, Nest]:
    length = keras.tree.flatten(inputs)[0].shape[0]
    outputs: list[Nest] = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        carry, outputs[t] = step(carry, keras.tree.map_structure(lambda x, t=t: x[t], inputs))
    return carry, keras.tree.map_structure(lambda *y: ops.stack(y), *outputs)


def _tensorflow_scan(
    step: Step, carry: Nest, inputs: Nest, *, reverse: bool, like: Nest | None, unroll: int
) -> tuple[Nest, Nest]:
    import tensorflow as tf  # only this backend's branch may need it

    length = keras.tree.flatten(inputs)[0].shape[0]
    if length is None:
        raise ValueError("time_scan: want a static number of frames. Received: None")

    def frame(t: Any) -> Nest:
        return keras.tree.map_structure(lambda x: x[t], inputs)

    def array(y: Any) -> Any:
        return tf.TensorArray(y.dtype, size=length, element_shape=y.shape, clear_after_read=False)

    done, output = 0, like
    if like is None:
        first = length - 1 if reverse else 0
        carry, output = step(carry, frame(first))
        if length == 1:
            return carry, keras.tree.map_structure(lambda y: y[None], output)
        arrays = [array(y).write(first, y) for y in keras.tree.flatten(output)]
        done = 1
    else:
        arrays = [array(y) for y in keras.tree.flatten(like)]

    def one(i: Any, carry: Nest, arrays: list) -> tuple[Nest, list]:
        t = length - 1 - i if reverse else i
        carry, output = step(carry, frame(t))
        outputs = keras.tree.flatten(output)
        return carry, [array.write(t, y) for array, y in zip(arrays, outputs, strict=True)]

    for _ in range((length - done) % unroll):
        carry, arrays = one(done, carry, arrays)
        done += 1

    def body(i: Any, carry: Nest, arrays: list) -> tuple[Any, Nest, list]:
        for _ in range(unroll):
            carry, arrays = one(i, carry, arrays)
            i = i + 1
        return i, carry, arrays

    _, carry, arrays = tf.while_loop(
        lambda i, *_: i < length,
        body,
        (tf.constant(done), carry, arrays),
        parallel_iterations=1,
        maximum_iterations=(length - done) // unroll,
    )
    return carry, keras.tree.pack_sequence_as(output, [array.stack() for array in arrays])
