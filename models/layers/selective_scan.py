"""The selective scan of Mamba (Gu and Dao 2023, https://arxiv.org/abs/2312.00752, eq. 2 and §3.5).

Per row, channel and state: `h_t = exp(delta_t * A) * h_{t-1} + delta_t * B_t * x_t`, then
`y_t = sum over states of C_t * h_t + D * x_t`. Where a frame is the first of its game,
`h_{t-1}` counts as zero.

Backpropagation through a loop would keep every intermediate of every frame. This scan has a
gradient of its own: the forward pass keeps only the state at each chunk's start, the backward pass
recomputes a chunk's states and walks it backwards. Memory is linear in time with a factor
`1 / chunk + chunk / time` of the naive one. Associative and log-space forms lost: slower on CPU
(4-20x) or NaN at large delta.

On a CPU a scan is bound by memory, as each state is read and written some twenty times. So it walks
all frames of a few batch rows, whose state stays in a core's cache, before it takes the next rows:
that is 0.7 of the time for 64 rows of 512 channels and 16 states. A GPU wants all rows at once, and
frames written out (`scan_chunks`).

The state is `[batch, states, channels]`: channels last, so the inner loops are long and contiguous.
All arithmetic is float32 whatever the compute dtype.
"""

from typing import Any, NamedTuple

import keras

from models.layers.backend import has_gpu, incoming_gradients, ops
from models.layers.channel_scale import scale_channels
from models.layers.scan_chunks import LOOPED, WRITTEN, ChunkForm, forward_step
from models.layers.time_scan import is_written_out, time_scan

Tensor = Any
STATE_BYTES = 1 << 16
"""State of the rows that a CPU takes at once; a chunk's states are `LOOPED.frames` times that."""
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
        decay_time = _decay_time(delta, is_resetting)
    state = ops.exp(decay_time * a) * state + (delta * x) * ops.swapaxes(b, 1, 2)
    return ops.matmul(c, state) + d * x, state


def _decay_time(delta: Tensor, is_resetting: Tensor) -> Tensor:
    """An endless time step forgets everything: cheaper than a product with the whole state."""
    reset = ops.reshape(ops.cast(is_resetting, "float32"), (-1, delta.shape[1], 1))
    return delta + reset * ENDLESS


def selective_scan(
    x: Tensor,
    selection: Selection,
    state: Tensor,
    *,
    is_resetting: Tensor,
    chunk_frames: int | None = None,
    rows: int | None = None,
    form: ChunkForm | None = None,
) -> tuple[Tensor, Tensor]:
    """Scans `time` frames; differentiable in every float argument.

    Args:
      x: `[batch, time, channels]`.
      selection: the scan's parameters.
      state: `[batch, states, channels]`, the state before the first frame.
      is_resetting: bool `[batch, time]`; True zeroes the state before that frame.
      chunk_frames: frames recomputed at once in the backward pass (memory against time); None for
        what suits the form.
      rows: batch rows at once, a divisor of the batch; None for what suits the machine.
      form: how a chunk is computed; None for what suits the machine.

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
    u, dt = x * delta, _decay_time(delta, is_resetting)
    if is_written_out():
        frames = tuple(ops.swapaxes(v, 0, 1) for v in (u, dt, b, c))
        state, y = time_scan(lambda h, f: forward_step(a, h, f), state, frames)
        y = ops.swapaxes(y, 0, 1)
    else:
        form = form or (WRITTEN if has_gpu() else LOOPED)
        frames = chunk_frames or form.frames
        blocks = _blocks(state, time=x.shape[1], chunk_frames=frames, rows=rows)
        y, state = _blocked_scan(blocks, form)(u, dt, a, b, c, state)
    return y + scale_channels(x, d), state


class _Blocks(NamedTuple):
    """How `[batch, time, …]` is cut to `[slices, chunks, frames, rows, …]` and put together."""

    slices: int
    rows: Any
    """Of a slice: an int, or a tensor where the batch is unknown (there is one slice then)."""
    chunks: int
    frames: int
    """Of a chunk; the last one is filled up."""
    time: int

    def cut(self, x: Tensor) -> Tensor:
        """Frames that fill up are zeros, which leave a state as it is: it decays for no time."""
        rest = tuple(x.shape[2:])
        pad = self.chunks * self.frames - self.time
        if pad:
            x = ops.pad(x, [(0, 0), (0, pad), *((0, 0) for _ in rest)])
        x = ops.reshape(x, (self.slices, self.rows, self.chunks, self.frames, *rest))
        return ops.transpose(x, (0, 2, 3, 1, *range(4, 4 + len(rest))))

    def join(self, x: Tensor) -> Tensor:
        rest = tuple(x.shape[4:])
        x = ops.transpose(x, (0, 3, 1, 2, *range(4, 4 + len(rest))))
        return ops.reshape(x, (-1, self.chunks * self.frames, *rest))[:, : self.time]

    def cut_rows(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (self.slices, self.rows, *x.shape[1:]))

    def like(self, *shape: Any) -> Any:
        """A float32 tensor's description; the word "rows" in a shape stands for their number."""
        rows = self.rows if isinstance(self.rows, int) else None
        return keras.KerasTensor([rows if n == "rows" else n for n in shape], "float32")


def _blocks(state: Tensor, *, time: int, chunk_frames: int, rows: int | None) -> _Blocks:
    chunks = -(-time // chunk_frames)
    frames = -(-time // chunks)  # as many chunks, but of nearly equal size
    batch, states, channels = state.shape
    if batch is None:
        return _Blocks(1, ops.shape(state)[0], chunks, frames, time)
    if rows is None:
        most = batch if has_gpu() else max(1, STATE_BYTES // (4 * states * channels))
        rows = max(n for n in range(1, min(most, batch) + 1) if batch % n == 0)
    return _Blocks(batch // rows, rows, chunks, frames, time)


def _blocked_scan(blocks: _Blocks, form: ChunkForm) -> Any:
    """Returns the scan `(u, dt, a, b, c, state) -> (y, state)` with its gradient."""
    chunks, count = blocks.chunks, blocks.frames

    @ops.custom_gradient
    def scan(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> Any:  # noqa: PLR0917
        states, channels = a.shape
        us, dts, bs, cs = (blocks.cut(v) for v in (u, dt, b, c))
        state_like = blocks.like("rows", states, channels)
        wide = ("rows", channels)
        narrow = ("rows", states)

        def forward_chunk(state: Tensor, frames: tuple) -> tuple[Tensor, tuple]:
            after, y = form.forward(a, state, frames)
            return after, (y, state)

        def forward_slice(carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
            state, *frames = inputs
            like = (blocks.like(count, *wide), state_like)
            final, (y, starts) = time_scan(forward_chunk, state, tuple(frames), like=like)
            return carry, (y, starts, final)

        _, (y, starts, final) = time_scan(
            forward_slice,
            (),
            (blocks.cut_rows(h), us, dts, bs, cs),
            like=(
                blocks.like(chunks, count, *wide),
                blocks.like(chunks, "rows", states, channels),
                state_like,
            ),
        )

        def backward_chunk(carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
            return form.backward(a, carry, inputs)

        def backward_slice(grad_a: Tensor, inputs: tuple) -> tuple[Tensor, tuple]:
            grad_final, *frames = inputs
            like = tuple(blocks.like(count, *shape) for shape in (wide, wide, narrow, narrow))
            (grad_state, grad_a), grads = time_scan(
                backward_chunk, (grad_final, grad_a), tuple(frames), reverse=True, like=like
            )
            return grad_a, (grad_state, *grads)

        def grad(*args: Tensor, upstream: tuple | None = None) -> tuple:
            grad_y, grad_final = incoming_gradients(args, upstream)
            grads_of = (wide, wide, narrow, narrow)
            grad_a, (grad_state, *grads) = time_scan(
                backward_slice,
                ops.zeros_like(a),
                (blocks.cut_rows(grad_final), us, dts, bs, cs, blocks.cut(grad_y), starts),
                like=(state_like, *(blocks.like(chunks, count, *shape) for shape in grads_of)),
            )
            grad_u, grad_dt, grad_b, grad_c = (blocks.join(g) for g in grads)
            grad_state = ops.reshape(grad_state, (-1, states, channels))
            return grad_u, grad_dt, grad_a, grad_b, grad_c, grad_state

        return (blocks.join(y), ops.reshape(final, (-1, states, channels))), grad

    return scan
