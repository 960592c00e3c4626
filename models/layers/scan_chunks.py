"""Two forms of a chunk of the selective scan and of its gradient: looped over, or written out.

A loop keeps the state in a processor's cache, where frames that are written out take four times as
long: XLA merges the sums of several frames into one loop, which it does not vectorise. A GPU waits
for every turn of a loop: of written-out frames XLA makes a few kernels a chunk. On an H200 an
update of two layers of 256 took 0.16 of the loop's time for 16 unrolls of 80 frames, 0.26 for 128,
0.41 for 512. Associative scans took longer for such unrolls, and up to seven times the memory.

Axes: `[frames, rows, …]`. `frames` of a form are u, dt `[frames, rows, channels]`, b, c `[frames,
rows, states]`; a gradient's are those, the gradient by y, and the state `[rows, states, channels]`
before the chunk.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from models.layers.backend import ops
from models.layers.time_scan import time_scan

Tensor = Any


class ChunkForm(NamedTuple):
    """How a chunk is computed."""

    forward: Callable[[Tensor, Tensor, tuple], tuple[Tensor, Tensor]]
    """`(a, state, frames) -> (state after, y)`."""
    backward: Callable[[Tensor, tuple, tuple], tuple[tuple, tuple]]
    """`(a, carry, frames) -> (carry, gradients by u, dt, b, c)`; the carry is the gradients by the
    state after the chunk, before it when returned, and by a."""
    frames: int
    """Of a chunk, at most: between states that are kept."""


def _advance(a: Tensor, state: Tensor, frame: tuple) -> Tensor:
    u, dt, b = frame
    return ops.exp(dt[:, None, :] * a) * state + u[:, None, :] * b[:, :, None]


def forward_step(a: Tensor, state: Tensor, frame: tuple) -> tuple[Tensor, Tensor]:
    """One frame, u, dt, b, c `[rows, …]`: the state after it, and y."""
    u, dt, b, c = frame
    state = _advance(a, state, (u, dt, b))
    return state, ops.sum(state * c[:, :, None], axis=1)


def _backward_step(a: Tensor, carry: tuple, frame: tuple) -> tuple[tuple, tuple]:
    """Carries the gradients by the state and by `a` from one frame to the one before."""
    grad_state, grad_a = carry
    u, dt, b, c, grad_y, previous = frame
    grad_state = grad_state + grad_y[:, None, :] * c[:, :, None]
    grad_b = _sum_channels(grad_state, u)
    grad_u = ops.sum(grad_state * b[:, :, None], axis=1)
    grad_state = grad_state * ops.exp(dt[:, None, :] * a)
    by_exponent = grad_state * previous
    grad_dt = ops.sum(by_exponent * a, axis=1)
    grad_a = grad_a + ops.sum(by_exponent * dt[:, None, :], axis=0)
    return (grad_state, grad_a), (grad_u, grad_dt, grad_b)


def _sum_channels(state: Tensor, weight: Tensor) -> Tensor:
    """A product, since XLA on CPU does not vectorise a sum along the last axis."""
    return ops.matmul(state, weight[:, :, None])[:, :, 0]


def _states_again(a: Tensor, start: Tensor, frames: tuple) -> tuple[Tensor, Tensor]:
    """Returns a chunk's states, each *before* its frame, and the gradient by `c`.

    Args:
      a: decay rates.
      start: `[rows, states, channels]`, before the first frame.
      frames: u, dt, b and the gradient by y, each `[frames, rows, …]`.
    """
    count, states = frames[0].shape[0], a.shape[0]

    def frame(t: Tensor, carry: tuple) -> tuple[Tensor, Tensor, Tensor]:
        state, before, grad_c = carry
        *inputs, grad_y = (v[t] for v in frames)
        state = _advance(a, state, tuple(inputs))
        # One place too far, so that the state need not be copied before it changes.
        before = ops.slice_update(before, (t + 1, 0, 0, 0), state[None])
        by_c = _sum_channels(state, grad_y)[None]
        return state, before, ops.slice_update(grad_c, (t, 0, 0), by_c)

    rows = ops.shape(start)[0]
    before = ops.zeros((count + 1, rows, *a.shape), "float32")
    before = ops.slice_update(before, (0, 0, 0, 0), start[None])
    grad_c = ops.zeros((count, rows, states), "float32")
    _, before, grad_c = ops.fori_loop(0, count, frame, (start, before, grad_c))
    return before, grad_c


def _like(*tensors: Tensor) -> tuple:
    """Descriptions of one frame of tensors `[frames, …]`."""
    return tuple(keras.KerasTensor(x.shape[1:], "float32") for x in tensors)


def _looped_forward(a: Tensor, state: Tensor, frames: tuple) -> tuple[Tensor, Tensor]:
    (like,) = _like(frames[0])
    return time_scan(lambda h, f: forward_step(a, h, f), state, frames, like=like)


def _looped_backward(a: Tensor, carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
    *frames, start = inputs
    u, dt, b, _, grad_y = frames
    before, grad_c = _states_again(a, start, (u, dt, b, grad_y))
    carry, grads = time_scan(
        lambda g, f: _backward_step(a, g, (*f[1:], before[f[0]])),
        carry,
        (ops.arange(u.shape[0]), *frames),
        reverse=True,
        like=_like(u, dt, b),
    )
    return carry, (*grads, grad_c)


LOOPED = ChunkForm(_looped_forward, _looped_backward, frames=16)


def _written_forward(a: Tensor, state: Tensor, frames: tuple) -> tuple[Tensor, Tensor]:
    ys = []
    for t in range(frames[0].shape[0]):
        state, y = forward_step(a, state, tuple(x[t] for x in frames))
        ys.append(y)
    return state, ops.stack(ys)


def _written_backward(a: Tensor, carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
    *frames, state = inputs
    u, dt, b, _, grad_y = frames
    before, grads_c, grads = [], [], []
    for t in range(u.shape[0]):
        before.append(state)
        state = _advance(a, state, (u[t], dt[t], b[t]))
        grads_c.append(_sum_channels(state, grad_y[t]))
    for t in reversed(range(u.shape[0])):
        carry, grad = _backward_step(a, carry, (*(x[t] for x in frames), before[t]))
        grads.append(grad)
    return carry, (*(ops.stack(g[::-1]) for g in zip(*grads, strict=True)), ops.stack(grads_c))


WRITTEN = ChunkForm(_written_forward, _written_backward, frames=8)
