"""Mamba-2's scan as matrix products (Dao and Gu 2024, https://arxiv.org/abs/2405.21060, §6).

Per row and head: `h_t = exp(log_decay_t) * h_{t-1} + b_t x_t'`, then `y_t = c_t' h_t`. One decay
per head, and no longer one per channel and state, makes a chunk of frames three products: each
frame reads the chunk's earlier inputs through `c_t' b_s` times the decay between the two, and the
state at the chunk's start; and the chunk adds to the state. States at the chunks' starts are one
more product, with the decays between chunks: there is no loop.

Where a frame is the first of its game, all before it counts as zero. All arithmetic is float32.
"""

from typing import NamedTuple

import numpy as np

from models.layers.backend import ops, take_features
from models.layers.temporal import Tensor

CHUNK_FRAMES = 32
NEVER = -1e9
"""Log decay between two games."""


class Flow(NamedTuple):
    """What flows into the states, through them and out; float32."""

    x: Tensor
    """`[batch, time, channels]`, what enters; channels are `heads` groups of equal width."""
    log_decay: Tensor
    """`[batch, time, heads]`, at most 0."""
    b: Tensor
    """`[batch, time, states]`, which states it enters."""
    c: Tensor
    """`[batch, time, states]`, which states are read."""


def scan_frame(flow: Flow, state: Tensor, is_resetting: Tensor | None) -> tuple[Tensor, Tensor]:
    """One frame of `chunked_scan`.

    Args:
      flow: with a time axis of 1.
      state: `[batch, states, channels]`.
      is_resetting: bool `[batch]`; True zeroes the state before the frame. None resets nothing.

    Returns: y `[batch, 1, channels]` and the new state.
    """
    x, log_decay, b, c = flow
    decay = ops.exp(log_decay)
    if is_resetting is not None:
        decay = decay * (1.0 - ops.reshape(ops.cast(is_resetting, "float32"), (-1, 1, 1)))
    state = per_channel(decay, x.shape[-1]) * state + ops.swapaxes(b, 1, 2) * x
    return ops.matmul(c, state), state


def per_channel(values: Tensor, channels: int) -> Tensor:
    """Each head's value for all of its channels: `[batch, time, heads]` to `[…, channels]`."""
    width = channels // values.shape[-1]
    if values.shape[1] == 1:  # one operation where a repetition is three: a step is exported
        return take_features(values, np.arange(channels) // width)
    return ops.repeat(values, width, axis=-1)


def chunked_scan(
    flow: Flow, state: Tensor, is_resetting: Tensor, *, chunk_frames: int = CHUNK_FRAMES
) -> tuple[Tensor, Tensor]:
    """Scans `time` frames; differentiable in every float argument.

    Args:
      flow: of `time` frames.
      state: `[batch, states, channels]`, before the first frame.
      is_resetting: bool `[batch, time]`; True zeroes the state before that frame.
      chunk_frames: frames that read one another directly, at most.

    Returns: y `[batch, time, channels]`, and the state after the last frame.
    """
    time, channels = flow.x.shape[1:]
    heads = flow.log_decay.shape[-1]
    chunks = -(-time // chunk_frames)
    frames = -(-time // chunks)  # as many chunks, but of nearly equal size
    x, log_decay, b, c = (_cut(v, chunks, frames) for v in flow)
    game = _cut(ops.cumsum(ops.cast(is_resetting, "int32"), axis=1), chunks, frames, mode="edge")
    x = ops.swapaxes(ops.reshape(x, (-1, chunks, frames, heads, channels // heads)), 2, 3)
    since_start = ops.cumsum(
        ops.swapaxes(log_decay, 2, 3), axis=-1
    )  # [batch, chunks, heads, frames]

    weights = ops.matmul(c, ops.swapaxes(b, 2, 3))[:, :, None] * _decay_between(since_start, game)
    y = ops.matmul(weights, x)

    in_last_game = (game == game[:, :, -1:])[:, :, None]
    until_end = ops.where(in_last_game, since_start[..., -1:] - since_start, NEVER)
    added = ops.matmul(ops.swapaxes(b, 2, 3)[:, :, None], ops.exp(until_end)[..., None] * x)
    start, final = _states(state, added, (since_start[..., -1], game[:, :, -1]))

    in_first_game = (game == _before(game[:, :, -1])[:, :, None])[:, :, None]
    from_start = ops.exp(ops.where(in_first_game, since_start, NEVER))
    y = y + from_start[..., None] * ops.matmul(c[:, :, None], start)
    y = ops.reshape(ops.swapaxes(y, 2, 3), (-1, chunks * frames, channels))
    return y[:, :time], final


def _cut(x: Tensor, chunks: int, frames: int, *, mode: str = "constant") -> Tensor:
    """`[batch, time, …]` to `[batch, chunks, frames, …]`; zero frames change no state."""
    rest, fill = tuple(x.shape[2:]), chunks * frames - x.shape[1]
    if fill and mode == "edge":  # a game goes on
        x = ops.concatenate([x, *[x[:, -1:]] * fill], axis=1)
    elif fill:
        x = ops.pad(x, [(0, 0), (0, fill), *((0, 0) for _ in rest)])
    return ops.reshape(x, (-1, chunks, frames, *rest))


def _before(last_game: Tensor) -> Tensor:
    """Game at each chunk's start `[batch, chunks]`, from that at its end; the first is 0."""
    return ops.pad(last_game[:, :-1], [(0, 0), (1, 0)])


def _decay_between(log_decay: Tensor, game: Tensor) -> Tensor:
    """Decay from frame s (last axis) to frame t: `[*, heads, frames, frames]`, 0 where s > t.

    Args:
      log_decay: `[*, heads, frames]`, summed up from the start.
      game: int32 `[*, frames]`.
    """
    frames = log_decay.shape[-1]
    is_past = np.tri(frames, dtype=bool)
    is_seen = ops.logical_and(game[..., :, None] == game[..., None, :], is_past)
    between = log_decay[..., :, None] - log_decay[..., None, :]
    return ops.exp(ops.where(is_seen[..., None, :, :], between, NEVER))


def _states(state: Tensor, added: Tensor, chunk: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Returns states at the chunks' starts `[batch, chunks, heads, states, width]`, and the last.

    Args:
      state: `[batch, states, channels]`, before the first chunk.
      added: `[batch, chunks, heads, states, width]`, what each chunk adds.
      chunk: each one's log decay `[batch, chunks, heads]`, and game at its end `[batch, chunks]`.
    """
    log_decay, last_game = chunk
    chunks, heads, states, width = added.shape[1:]
    first = ops.reshape(state, (-1, states, heads, width))
    first = ops.swapaxes(first, 1, 2)[:, None]
    flat = (-1, chunks + 1, heads, states * width)
    sources = ops.swapaxes(ops.reshape(ops.concatenate([first, added], axis=1), flat), 1, 2)
    since_start = ops.pad(ops.cumsum(log_decay, axis=1), [(0, 0), (1, 0), (0, 0)])
    game = ops.pad(last_game, [(0, 0), (1, 0)])
    decay = _decay_between(ops.swapaxes(since_start, 1, 2), game)
    reached = ops.reshape(ops.matmul(decay, sources), (-1, heads, chunks + 1, states, width))
    final = ops.swapaxes(reached[:, :, -1], 1, 2)
    final = ops.reshape(final, (-1, states, heads * width))
    return ops.swapaxes(reached[:, :, :-1], 1, 2), final
