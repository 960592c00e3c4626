"""The selective scan of Mamba (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, eq. 2 and §3.5).

Per row, channel and state: `h_t = exp(delta_t * A) * h_{t-1} + delta_t * B_t * x_t`, then
`y_t = sum over states of C_t * h_t + D * x_t`. Where a frame is the first of its game,
`h_{t-1}` counts as zero.

Backpropagation through a loop would keep every intermediate of every frame. This scan has a
gradient of its own: the forward pass keeps only the state at each chunk's start, the backward pass
recomputes a chunk's states and walks it backwards. Memory is linear in time with a factor
`1 / chunk + chunk / time` of the naive one. Associative and log-space forms lost: slower on CPU
(4-20x) or NaN at large delta.

The state is `[batch, states, channels]`: channels last, so the inner loops are long and contiguous.
All arithmetic is float32 whatever the compute dtype.
"""

from typing import Any, NamedTuple

from models.layers.backend import ops
from models.layers.time_scan import is_written_out, time_scan

Tensor = Any
CHUNK_FRAMES = 20
ENDLESS = 1e9
"""A delta after which nothing is left of a state: exp(ENDLESS * a) is 0 for any a below -1e-7."""


class Selection(NamedTuple):
    """The parameters of a scan; `time` is 1 in a single step. All float32."""

    delta: Tensor
    """`[batch, time, channels]`, positive step sizes."""
    a: Tensor
    """`[states, channels]`, negative decay rates."""
    b: Tensor
    """`[batch, time, states]`, what enters the state."""
    c: Tensor
    """`[batch, time, states]`, what leaves it."""
    d: Tensor
    """`[channels]`, the skip."""


def selective_scan_step(
    x: Tensor, selection: Selection, state: Tensor, *, is_resetting: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One frame of `selective_scan`.

    Args:
      x: float32 `[batch, 1, channels]`.
      selection: its parameters, with a time axis of 1.
      state: float32 `[batch, states, channels]`.
      is_resetting: bool `[batch]`; True zeroes the state before the frame. None resets nothing.

    Returns: y `[batch, 1, channels]` and the new state.
    """
    delta, a, b, c, d = selection
    decay_time = delta
    if is_resetting is not None:
        # An endless time step forgets everything: cheaper than a product with the whole state.
        reset = ops.reshape(ops.cast(is_resetting, "float32"), (-1, 1, 1))
        decay_time = delta + reset * ENDLESS
    state = ops.exp(decay_time * a) * state + (delta * x) * ops.swapaxes(b, 1, 2)
    return ops.matmul(c, state) + d * x, state


def selective_scan(
    x: Tensor,
    selection: Selection,
    state: Tensor,
    *,
    is_resetting: Tensor,
    chunk_frames: int = CHUNK_FRAMES,
) -> tuple[Tensor, Tensor]:
    """Scans `time` frames; differentiable in every float argument.

    Args:
      x: `[batch, time, channels]`.
      selection: the scan's parameters.
      state: `[batch, states, channels]`, the state before the first frame.
      is_resetting: bool `[batch, time]`; True zeroes the state before that frame.
      chunk_frames: frames recomputed at once in the backward pass (memory against time).

    Returns: y float32 `[batch, time, channels]`, and the state after the last frame.
    Raises: ValueError: if `x` and `delta` differ in shape.
    """
    if tuple(x.shape) != tuple(selection.delta.shape):
        raise ValueError(
            "selective_scan: want x and delta of one shape. "
            f"Received: x={x.shape}, delta={selection.delta.shape}"
        )
    x, state = ops.cast(x, "float32"), ops.cast(state, "float32")
    delta, a, b, c, d = (ops.cast(v, "float32") for v in selection)
    keep = 1.0 - ops.cast(is_resetting, "float32")
    u, dt, bt, ct, kt = (_time_major(v) for v in (x * delta, delta, b, c, keep))
    if is_written_out():
        state, y = time_scan(lambda h, f: _forward_step(a, h, f), state, (u, dt, bt, ct, kt))
    else:
        y, state = _chunked_scan(kt, chunk_frames)(u, dt, a, bt, ct, state)
    return _time_major(y) + d * x, state


def _time_major(x: Tensor) -> Tensor:
    return ops.swapaxes(x, 0, 1)


def _forward_step(a: Tensor, state: Tensor, frame: tuple) -> tuple[Tensor, tuple]:
    u, dt, b, c, keep = frame
    decay = ops.exp(dt[:, None, :] * a) * keep[:, None, None]
    state = decay * state + u[:, None, :] * b[:, :, None]
    return state, ops.sum(state * c[:, :, None], axis=1)


def _state_step(a: Tensor, state: Tensor, frame: tuple) -> tuple[Tensor, Tensor]:
    """As `_forward_step`, but puts out the state *before* the frame."""
    u, dt, b, keep = frame
    decay = ops.exp(dt[:, None, :] * a) * keep[:, None, None]
    return decay * state + u[:, None, :] * b[:, :, None], state


def _backward_step(a: Tensor, carry: tuple, frame: tuple) -> tuple[tuple, tuple]:
    """Carries the gradients by the state and by `a` from one frame to the one before."""
    grad_state, grad_a = carry
    u, dt, b, c, keep, grad_y, previous = frame
    decayed = ops.exp(dt[:, None, :] * a) * keep[:, None, None]
    state = decayed * previous + u[:, None, :] * b[:, :, None]
    # Products, since XLA on CPU does not vectorise a sum along the last axis (12 % of the time).
    grad_c = ops.matmul(state, grad_y[:, :, None])[:, :, 0]
    grad_state = grad_state + grad_y[:, None, :] * c[:, :, None]
    grad_b = ops.matmul(grad_state, u[:, :, None])[:, :, 0]
    grad_u = ops.sum(grad_state * b[:, :, None], axis=1)
    grad_state = grad_state * decayed
    by_exponent = grad_state * previous
    grad_dt = ops.sum(by_exponent * a, axis=1)
    grad_a = grad_a + ops.sum(by_exponent * dt[:, None, :], axis=0)
    return (grad_state, grad_a), (grad_u, grad_dt, grad_b, grad_c)


def _split(x: Tensor, chunk: int) -> Tensor:
    """`[time, …]` to `[chunks, chunk, …]`, with zero frames behind (they leave the state alone)."""
    time = x.shape[0]
    chunks = -(-time // chunk)
    if chunks * chunk != time:
        x = ops.pad(x, [(0, chunks * chunk - time)] + [(0, 0)] * (len(x.shape) - 1))
    return ops.reshape(x, (chunks, chunk, *x.shape[1:]))


def _join(x: Tensor, time: int) -> Tensor:
    return ops.reshape(x, (-1, *x.shape[2:]))[:time]


def _chunked_scan(keep: Tensor, chunk: int) -> Any:
    """Returns the scan `(u, dt, a, b, c, state) -> (y, state)`, time-major, with its gradient."""
    time = keep.shape[0]
    chunk = -(-time // -(-time // chunk))  # As many chunks, but of nearly equal size.
    pad = -time % chunk
    # Padded frames keep the state: keep = 1, dt = 0 and u = 0.
    keep = ops.pad(keep, [(0, pad), (0, 0)], constant_values=1.0) if pad else keep
    keep = _split(keep, chunk)

    @ops.custom_gradient
    def scan(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> Any:  # noqa: PLR0917
        us, dts, bs, cs = (_split(v, chunk) for v in (u, dt, b, c))

        def forward_chunk(state: Tensor, frames: tuple) -> tuple[Tensor, tuple]:
            after, y = time_scan(lambda h, f: _forward_step(a, h, f), state, frames)
            return after, (y, state)

        final, (y, starts) = time_scan(forward_chunk, h, (us, dts, bs, cs, keep))

        def backward_chunk(carry: tuple, frames: tuple) -> tuple[tuple, tuple]:
            u, dt, b, c, keep, grad_y, start = frames
            _, before = time_scan(lambda h, f: _state_step(a, h, f), start, (u, dt, b, keep))
            return time_scan(
                lambda g, f: _backward_step(a, g, f),
                carry,
                (u, dt, b, c, keep, grad_y, before),
                reverse=True,
            )

        def grad(*args: Tensor, upstream: tuple | None = None) -> tuple:
            grad_y, grad_final = args if upstream is None else upstream
            inputs = (us, dts, bs, cs, keep, _split(grad_y, chunk), starts)
            (grad_state, grad_a), grads = time_scan(
                backward_chunk, (grad_final, ops.zeros_like(a)), inputs, reverse=True
            )
            grad_u, grad_dt, grad_b, grad_c = (_join(g, time) for g in grads)
            return grad_u, grad_dt, grad_a, grad_b, grad_c, grad_state

        return (_join(y, time), final), grad

    return scan
