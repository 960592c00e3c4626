"""Causal attention over the last `window` frames, with a ring-buffer cache for play.

A query sees itself and at most `window - 1` frames before it, all of its own game. Positions are
relative: a learned bias per head and age, started at ALiBi's slopes (Press et al. 2021,
https://arxiv.org/abs/2108.12409). So a game may last for ever and `step` still equals `unroll`;
rotary angles would lose float32 precision after some thousand frames.

`Window` holds what all layers share: how many frames each row has behind it decides which ring slot
is written and which are visible. Keys of an earlier game stay in the ring, but are never visible.
"""

from typing import NamedTuple

import keras
import numpy as np

from models.layers.backend import dense_value, ops, take_rows
from models.layers.dense import dense
from models.layers.temporal import Tensor
from models.quantization_config import Rounding

HIDDEN_LOGIT = -1e9


class StepWindow(NamedTuple):
    """What one frame may see. Slot `j` of the ring holds the frame `age[j]` frames ago."""

    is_written: Tensor
    """bool `[batch, 1, window, 1]`, the slot that takes this frame."""
    age: Tensor
    """int32 `[batch, window]`, frames since the slot's frame; 0 is the present."""
    mask: Tensor
    """float32 `[batch, 1, 1, window]`, 0 where visible, else `HIDDEN_LOGIT`."""


class UnrollWindow(NamedTuple):
    """What `time` frames may see. Keys stand in order of time, `window - 1` cached ones first."""

    num_visible: Tensor
    """int32 `[batch, time]`, frames of the game up to the present one, uncapped."""
    ring_order: Tensor
    """int32 `[batch, window - 1]`, ring slots from the oldest frame to the last one."""
    new_ring: Tensor
    """int32 `[batch, window]`, for each slot, its key's place among cached and new keys."""


def step_window(clock: Tensor, window: int) -> StepWindow:
    """Returns the view of a frame with `clock` (int32 `[batch]`) frames of its game before it."""
    slots = ops.arange(window, dtype="int32")
    slot = ops.mod(clock, window)[:, None]
    age = ops.mod(slot - slots + window, window)  # never of a negative: ONNX would truncate
    is_visible = age <= clock[:, None]
    mask = ops.where(is_visible, 0.0, HIDDEN_LOGIT)
    return StepWindow((slots == slot)[:, None, :, None], age, mask[:, None, None, :])


def unroll_window(clock: Tensor, is_resetting: Tensor, window: int) -> UnrollWindow:
    """Returns the view of `time` frames.

    Args:
      clock: int32 `[batch]`, frames of the game before the first one.
      is_resetting: bool `[batch, time]`.
      window: frames a query sees, itself included.
    """
    time = is_resetting.shape[1]
    game = ops.cumsum(ops.cast(is_resetting, "int32"), axis=1)
    frames = ops.arange(time)
    same_game = game[:, :, None] == game[:, None, :]
    is_past = (frames[:, None] >= frames[None, :])[None]
    count = ops.sum(ops.cast(ops.logical_and(same_game, is_past), "int32"), axis=2)
    num_visible = count + ops.where(game == 0, clock[:, None], 0)
    ages = ops.arange(window - 1, 0, -1, dtype="int32")
    ring_order = ops.mod(clock[:, None] - ages, window)
    slots = ops.arange(window, dtype="int32")
    last_age = ops.mod(num_visible[:, -1:] - 1 - slots, window)
    return UnrollWindow(num_visible, ring_order, window - 2 + time - last_age)


class SlidingWindowAttention(keras.layers.Layer):
    """Multi-head attention within a window; the caller carries cache and `Window`.

    The cache holds keys and values side by side, float32 `[batch, heads, window, 2 * head_dim]`.

    Args:
      width: features in and out; `num_heads` divides it.
      num_heads: heads.
      window: frames a query sees, itself included.
      qk_layernorm: normalise queries and keys per head.
      chunk: queries at once in `unroll`; None takes blocks of `window` side by side. Work is
        O(time * window) with blocks, and O(time * (window + chunk)) with chunks.
      key_block: keys at once, with an online softmax; None takes all of a chunk's keys.
      seed: initial weights are a function of it.
      quantize: how operands of the two projections are rounded to 8 bits; None for not at all.
        Attention's own products have no weights and stay float.
    """

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        window: int,
        qk_layernorm: bool = True,
        chunk: int | None = None,
        key_block: int | None = None,
        seed: int = 0,
        quantize: Rounding | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.width = width
        self.num_heads = num_heads
        self.head_dim = width // num_heads
        self.window = window
        self.qk_layernorm = qk_layernorm
        self.chunk = chunk or 0
        self.key_block = key_block or 0

        self.qkv = dense(3 * width, "qkv", seed=seed, quantize=quantize)
        self.out = dense(width, "out", seed=seed, quantize=quantize)

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static width."""
        self.qkv.build((None, self.width))
        self.out.build((None, self.width))
        self.age_bias = self.add_weight(
            name="age_bias",
            shape=(self.window, self.num_heads),
            initializer=self._initial_age_bias,
        )

    def _initial_age_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """ALiBi: head h loses `2^(-8 (h + 1) / heads)` per frame of age."""
        window, heads = shape
        slopes = 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)
        return ops.convert_to_tensor(-np.arange(window)[:, None] * slopes, dtype=dtype)

    def initial_cache(self, batch_size: int) -> Tensor:
        """Returns an empty ring."""
        shape = (batch_size, self.num_heads, self.window, 2 * self.head_dim)
        return ops.zeros(shape, "float32")

    def step(self, x: Tensor, cache: Tensor, window: StepWindow) -> tuple[Tensor, Tensor]:
        """Attends from one frame: x `[batch, width]` to output `[batch, width]` and new cache."""
        query, key_value = self._project(x[:, None, :])
        cache = ops.where(window.is_written, ops.cast(key_value, "float32"), cache)
        key, value = ops.split(ops.cast(cache, x.dtype), 2, axis=-1)
        bias = take_rows(dense_value(self.age_bias), window.age)
        logits = self._logits(query, key) + ops.swapaxes(bias, 1, 2)[:, :, None, :] + window.mask
        mixed = ops.matmul(ops.cast(ops.softmax(logits), value.dtype), value)
        return self.out(ops.reshape(mixed, (-1, self.width))), cache

    def unroll(self, x: Tensor, cache: Tensor, window: UnrollWindow) -> tuple[Tensor, Tensor]:
        """Attends from all frames: x `[batch, time, width]` to outputs and new cache."""
        query, key_value = self._project(x)
        past = ops.take_along_axis(cache, window.ring_order[:, None, :, None], axis=2)
        keys_values = ops.concatenate([ops.cast(past, key_value.dtype), key_value], axis=2)
        time, attend = x.shape[1], self._attend_chunks
        if time > self.window and not (self.chunk or self.key_block):
            attend = self._attend_blocks
        mixed = attend(query, keys_values, window.num_visible)
        mixed = ops.reshape(ops.swapaxes(mixed, 1, 2), (-1, time, self.width))
        ring = ops.take_along_axis(keys_values, window.new_ring[:, None, :, None], axis=2)
        return self.out(mixed), ops.cast(ring, "float32")

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns query `[batch, heads, time, head_dim]` and key with value, twice as wide."""
        time = x.shape[1]
        qkv = ops.reshape(self.qkv(x), (-1, time, 3, self.num_heads, self.head_dim))
        query, key, value = (ops.swapaxes(qkv[:, :, i], 1, 2) for i in range(3))
        if self.qk_layernorm:
            query, key = _normalize(query), _normalize(key)
        return query * self.head_dim**-0.5, ops.concatenate([key, value], axis=-1)

    def _logits(self, query: Tensor, key: Tensor) -> Tensor:
        return ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32")

    def _attend_blocks(self, query: Tensor, keys_values: Tensor, num_visible: Tensor) -> Tensor:
        """Attends from blocks of `window` queries, each to its own and the last block of keys."""
        window, time = self.window, query.shape[2]
        blocks = -(-time // window)
        fill = blocks * window - time
        rows = ((0, 0), (0, 0))
        query = ops.pad(query, (*rows, (0, fill), (0, 0)))
        query = ops.reshape(query, (-1, self.num_heads, blocks, window, self.head_dim))
        # A key in front that nobody sees fills the cached ones up to a block.
        keys_values = ops.pad(keys_values, (*rows, (1, fill), (0, 0)))
        shape = (-1, self.num_heads, blocks + 1, window, 2 * self.head_dim)
        keys_values = ops.reshape(keys_values, shape)
        pairs = ops.concatenate([keys_values[:, :, :-1], keys_values[:, :, 1:]], axis=3)
        num_visible = ops.reshape(ops.pad(num_visible, ((0, 0), (0, fill))), (-1, blocks, window))
        age = window + np.arange(window)[:, None] - np.arange(2 * window)[None, :]
        key, value = ops.split(pairs, 2, axis=-1)
        logits = self._logits(query, key) + self._age_bias(age)[:, None]
        mixed = self._mix(logits + _mask(age, num_visible)[:, None], value)
        return ops.reshape(mixed, (-1, self.num_heads, blocks * window, self.head_dim))[:, :, :time]

    def _attend_chunks(self, query: Tensor, keys_values: Tensor, num_visible: Tensor) -> Tensor:
        """Attends from one chunk of queries after the other."""
        time, chunks = query.shape[2], []
        step = self.chunk or self.window
        for start in range(0, time, step):
            stop = min(start + step, time)
            keys = keys_values[:, :, start : stop + self.window - 1]
            visible = num_visible[:, start:stop]
            chunks.append(self._attend(query[:, :, start:stop], keys, visible))
        return ops.concatenate(chunks, axis=2) if len(chunks) > 1 else chunks[0]

    def _attend(self, query: Tensor, keys_values: Tensor, num_visible: Tensor) -> Tensor:
        """Attends from a chunk of queries to the band of keys that they may see.

        Query `i` has age `i + window - 1 - j` for key `j`.
        """
        queries, keys = query.shape[2], keys_values.shape[2]
        age = np.arange(queries)[:, None] + self.window - 1 - np.arange(keys)[None, :]
        bias, mask = self._age_bias(age), _mask(age, num_visible)[:, None]
        key, value = ops.split(keys_values, 2, axis=-1)
        if self.key_block:
            return self._attend_online(query, (key, value), bias + mask)
        return self._mix(self._logits(query, key) + bias + mask, value)

    def _mix(self, logits: Tensor, value: Tensor) -> Tensor:
        return ops.matmul(ops.cast(ops.softmax(logits), value.dtype), value)

    def _age_bias(self, age: np.ndarray) -> Tensor:
        """Returns each head's bias `[heads, queries, keys]`, `HIDDEN_LOGIT` outside the window.

        Args:
          age: `[queries, keys]` of frames; one more per query, one less per key.
        """
        # A look-up's gradient would be a scatter, one row after the other. All rows are one vector,
        # shifted: written side by side with one number too many each, they shift by themselves.
        queries, keys = age.shape
        line = age[0, 0] + np.arange(queries - 1, -keys, -1)  # ages from oldest query to last key
        first, last = queries - 1, queries + keys - 1
        table = ops.transpose(dense_value(self.age_bias))
        in_window = (line >= 0) & (line < self.window)
        inside = np.flatnonzero(in_window)
        ages = table[:, line[inside[-1]] : line[inside[0]] + 1][:, ::-1]
        pads = ((0, 0), (int(inside[0]), int(last - 1 - inside[-1]) + 1))
        row = ops.pad(ages, pads, constant_values=HIDDEN_LOGIT)
        rows = ops.tile(row, (1, queries))[:, first : first + queries * last]
        return ops.reshape(rows, (self.num_heads, queries, last))[:, :, :keys]

    def _attend_online(self, query: Tensor, key_value: tuple, bias: Tensor) -> Tensor:
        """Softmax in one pass over key blocks (Milakov and Gimelshein 2018)."""
        key, value = key_value
        peak = total = mixed = None
        for start in range(0, key.shape[2], self.key_block):
            block = slice(start, min(start + self.key_block, key.shape[2]))
            logits = self._logits(query, key[:, :, block]) + bias[..., block]
            top = ops.max(logits, axis=-1, keepdims=True)
            new_peak = top if peak is None else ops.maximum(peak, top)
            weight = ops.exp(logits - new_peak)
            part = ops.matmul(ops.cast(weight, value.dtype), value[:, :, block])
            mass = ops.sum(weight, axis=-1, keepdims=True)
            if peak is not None:
                shrink = ops.exp(peak - new_peak)
                part, mass = part + mixed * ops.cast(shrink, part.dtype), mass + total * shrink
            peak, total, mixed = new_peak, mass, part
        return mixed / ops.cast(total, value.dtype)


def _normalize(x: Tensor) -> Tensor:
    """LayerNorm without weights over the last axis."""
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    return centered * ops.rsqrt(variance + 1e-6)


def _mask(age: np.ndarray, num_visible: Tensor) -> Tensor:
    """Returns 0 where a query sees a key, else `HIDDEN_LOGIT`: `[*, queries, keys]`.

    Args:
      age: `[queries, keys]`.
      num_visible: int32 `[*, queries]`, frames of the game up to the query's.
    """
    is_visible = ops.convert_to_tensor(age, dtype="int32") < num_visible[..., None]
    return ops.where(is_visible, 0.0, HIDDEN_LOGIT)
