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
Pair = tuple[Tensor, Tensor]
"""Keys and values, `[batch, heads, frames, head_dim]` each: `past` ones are `window - 1` cached."""
BLOCK_STEP = 16
"""Blocks are a window rounded up to a multiple of what a CPU's vector holds."""


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
    frames = ops.arange(time, dtype="int32")
    # The frame that each one's game began at: `clock` frames before the first one, or a reset.
    begin = _running_max(ops.where(is_resetting, frames, -clock[:, None]))
    num_visible = frames + 1 - begin
    ages = ops.arange(window - 1, 0, -1, dtype="int32")
    ring_order = ops.mod(clock[:, None] - ages, window)
    slots = ops.arange(window, dtype="int32")
    last_age = ops.mod(num_visible[:, -1:] - 1 - slots, window)
    return UnrollWindow(num_visible, ring_order, window - 2 + time - last_age)


def _running_max(x: Tensor) -> Tensor:
    """Greatest value up to each place of `x [batch, time]`, in as many passes as time has bits."""
    shift = 1
    while shift < x.shape[1]:
        later = ops.maximum(x[:, shift:], x[:, :-shift])
        x, shift = ops.concatenate([x[:, :shift], later], axis=1), 2 * shift
    return x


class SlidingWindowAttention(keras.layers.Layer):
    """Multi-head attention within a window; the caller carries cache and `Window`.

    The cache holds keys and values side by side, float32 `[batch, heads, window, 2 * head_dim]`.

    Args:
      width: features in and out; `num_heads` divides it.
      num_heads: heads.
      window: frames a query sees, itself included.
      qk_layernorm: normalise queries and keys per head.
      chunk: queries at once in `unroll`; None takes blocks of a window side by side. Work is
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
        self.block = -(-window // BLOCK_STEP) * BLOCK_STEP
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
        query, *key_value = self._project(x[:, None, :])
        key_value = ops.cast(ops.concatenate(key_value, axis=-1), "float32")
        cache = ops.where(window.is_written, key_value, cache)
        key, value = ops.split(ops.cast(cache, x.dtype), 2, axis=-1)
        bias = take_rows(dense_value(self.age_bias), window.age)
        logits = self._logits(query, key) + ops.swapaxes(bias, 1, 2)[:, :, None, :] + window.mask
        mixed = ops.matmul(ops.cast(ops.softmax(logits), value.dtype), value)
        return self.out(ops.reshape(mixed, (-1, self.width))), cache

    def unroll(self, x: Tensor, cache: Tensor, window: UnrollWindow) -> tuple[Tensor, Tensor]:
        """Attends from all frames: x `[batch, time, width]` to outputs and new cache."""
        query, key, value = self._project(x)
        past = ops.take_along_axis(cache, window.ring_order[:, None, :, None], axis=2)
        past = tuple(ops.split(ops.cast(past, key.dtype), 2, axis=-1))
        time, attend = x.shape[1], self._attend_chunks
        if time >= self.window and not (self.chunk or self.key_block):
            attend = self._attend_blocks
        mixed = attend(query, past, (key, value), num_visible=window.num_visible)
        mixed = ops.reshape(ops.swapaxes(mixed, 1, 2), (-1, time, self.width))
        return self.out(mixed), self._next_ring(past, (key, value), window.new_ring)

    def _next_ring(self, past: Pair, present: Pair, new_ring: Tensor) -> Tensor:
        """The cache after an unroll: the last `window` of cached and new keys, in their slots."""
        time = present[0].shape[2]
        first = max(time - self.window, 0)  # of the new ones; if they are few, all cached ones
        keys_values = ops.concatenate([x[:, :, first:] for x in present], axis=-1)
        if not first:
            keys_values = ops.concatenate([ops.concatenate(past, axis=-1), keys_values], axis=2)
        else:
            new_ring -= self.window - 1 + first
        ring = ops.take_along_axis(keys_values, new_ring[:, None, :, None], axis=2)
        return ops.cast(ring, "float32")

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns query, key and value, each `[batch, heads, time, head_dim]`."""
        time = x.shape[1]
        qkv = ops.reshape(self.qkv(x), (-1, time, 3, self.num_heads, self.head_dim))
        query, key, value = (ops.swapaxes(qkv[:, :, i], 1, 2) for i in range(3))
        if self.qk_layernorm:
            query, key = _normalize(query), _normalize(key)
        return query * self.head_dim**-0.5, key, value

    def _logits(self, query: Tensor, key: Tensor) -> Tensor:
        return ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32")

    def _attend_blocks(
        self, query: Tensor, past: Pair, present: Pair, *, num_visible: Tensor
    ) -> Tensor:
        """Attends from blocks of queries, each to its own and the last block of keys.

        A query sees key `j` of its own block if `j` is not after it, and else of the last one: one
        key per place. So all that is done to logits is done to one block of them, as in a ring.
        """
        block, time = self.block, query.shape[2]
        count = -(-time // block)
        fill = count * block - time
        query = self._blocks(query, after=fill)
        own_key, own_value = (self._blocks(x, after=fill) for x in present)
        # Keys in front that nobody sees fill the cached ones up to a block.
        front, whole = block - self.window + 1, (count - 1) * block
        last_key, last_value = (
            self._blocks(ops.concatenate([a, b[:, :, :whole]], axis=2), before=front)
            for a, b in zip(past, present, strict=True)
        )
        places = np.arange(block)
        is_own = places[:, None] >= places[None, :]
        age = (places[:, None] - places[None, :]) % block
        num_visible = ops.minimum(num_visible, self.window)
        num_visible = ops.pad(num_visible, ((0, 0), (0, fill)), constant_values=1)
        mask = _mask(age, ops.reshape(num_visible, (-1, count, block)))[:, None]
        logits = ops.where(is_own, self._logits(query, own_key), self._logits(query, last_key))
        weight = self._weights(logits + self._ring_bias()[:, None] + mask)
        total = ops.cast(ops.sum(weight, axis=-1, keepdims=True), own_value.dtype)
        weight, nothing = ops.cast(weight, own_value.dtype), ops.zeros((), own_value.dtype)
        mixed = ops.matmul(ops.where(is_own, weight, nothing), own_value)
        mixed += ops.matmul(ops.where(is_own, nothing, weight), last_value)
        # Divided last: then a gradient needs no sum over keys.
        mixed = ops.reshape(mixed / total, (-1, self.num_heads, count * block, self.head_dim))
        return mixed[:, :, :time]

    def _weights(self, logits: Tensor) -> Tensor:
        """A softmax's weights before they are divided by their sum."""
        if self.qk_layernorm:
            # A product is at most sqrt(head_dim), and a query always sees itself, at age 0. XLA
            # does not vectorise exp behind a maximum over the last axis: eight times as slow.
            peak = dense_value(self.age_bias)[0][:, None, None, None] + self.head_dim**0.5
        else:
            peak = ops.max(logits, axis=-1, keepdims=True)
        return ops.exp(logits - ops.stop_gradient(peak))

    def _blocks(self, x: Tensor, *, before: int = 0, after: int = 0) -> Tensor:
        """`[batch, heads, frames, head_dim]`, filled up, to `[batch, heads, blocks, block, …]`."""
        if before or after:
            x = ops.pad(x, ((0, 0), (0, 0), (before, after), (0, 0)))
        count = x.shape[2] // self.block
        return ops.reshape(x, (-1, self.num_heads, count, self.block, self.head_dim))

    def _ring_bias(self) -> Tensor:
        """Returns each head's bias `[heads, block, block]` for age `(query - key) % block`."""
        # As in `_age_bias`: ages side by side, twice, shift by themselves if one is left out.
        block, table = self.block, ops.transpose(dense_value(self.age_bias))
        table = ops.pad(table, ((0, 0), (0, block - self.window)))
        ages = ops.concatenate([table[:, :1], table[:, :0:-1]], axis=1)
        rows = ops.tile(ages, (1, 2 * block))[:, : block * (2 * block - 1)]
        bias = ops.reshape(rows, (self.num_heads, block, 2 * block - 1))[:, :, :block]
        # Times one: XLA would find each number's place anew for every row and block otherwise,
        # which takes ten times as long as the rest of a softmax.
        return ops.matmul(bias, np.eye(block, dtype=np.float32))

    def _attend_chunks(
        self, query: Tensor, past: Pair, present: Pair, *, num_visible: Tensor
    ) -> Tensor:
        """Attends from one chunk of queries after the other."""
        key, value = (ops.concatenate(pair, axis=2) for pair in zip(past, present, strict=True))
        time, chunks = query.shape[2], []
        step = self.chunk or self.window
        for start in range(0, time, step):
            stop = min(start + step, time)
            band = slice(start, stop + self.window - 1)
            key_value = key[:, :, band], value[:, :, band]
            visible = num_visible[:, start:stop]
            chunks.append(self._attend(query[:, :, start:stop], key_value, visible))
        return ops.concatenate(chunks, axis=2) if len(chunks) > 1 else chunks[0]

    def _attend(self, query: Tensor, key_value: Pair, num_visible: Tensor) -> Tensor:
        """Attends from a chunk of queries to the band of keys that they may see.

        Query `i` has age `i + window - 1 - j` for key `j`.
        """
        queries, keys = query.shape[2], key_value[0].shape[2]
        age = np.arange(queries)[:, None] + self.window - 1 - np.arange(keys)[None, :]
        bias, mask = self._age_bias(age), _mask(age, num_visible)[:, None]
        key, value = key_value
        if self.key_block:
            return self._attend_online(query, key_value, bias + mask)
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

    def _attend_online(self, query: Tensor, key_value: Pair, bias: Tensor) -> Tensor:
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
