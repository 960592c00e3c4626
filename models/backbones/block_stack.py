"""Backbones that stack residual blocks of several kinds: dense in, the blocks, a norm behind.

- `tx_like`: per layer an LSTM, then a feed-forward block: the core of the strongest published bots.
- `hybrid`: per layer an LSTM, then an attention block.
- `jamba`: Mamba blocks of which every so-manieth is an attention block (Lieber et al. 2024,
  https://arxiv.org/abs/2403.19887).

Mamba or an LSTM comes before the first attention block, so attention reads frames that already know
what came before them.
"""

import functools
from typing import Any

from keras import layers

from models.backbones.attention import AttentionBlock
from models.backbones.backbone_options import (
    HybridConfig,
    JambaConfig,
    SlidingWindowConfig,
    TxLikeConfig,
)
from models.backbones.base import TemporalBackbone, TemporalOptions
from models.layers.backend import ops
from models.layers.mamba import MambaBlock
from models.layers.residual import FeedForwardBlock, RecurrentBlock
from models.layers.seeding import derive_seed
from models.layers.sliding_window_attention import step_window, unroll_window
from models.layers.temporal import State, Tensor
from models.quantization_config import Rounding

STATE_NAMES: dict[type, tuple[str, ...]] = {
    MambaBlock: ("conv", "scan"),
    RecurrentBlock: ("h", "c"),
    FeedForwardBlock: (),
    AttentionBlock: ("ring",),
}


class BlockStack(TemporalBackbone[TemporalOptions]):
    """State: (frames of the game so far, what each block keeps).

    The former is int32 `[batch]`, or `()` where no block attends. Subclasses name the blocks.
    """

    def __init__(
        self,
        config: TemporalOptions,
        *,
        seed: int = 0,
        quantize: Rounding | None = None,
        **kwargs,
    ):
        super().__init__(config, seed=seed, quantize=quantize, **kwargs)
        self.stem = self._dense(config.width, "stem")
        self.blocks: list[Any] = self._make_blocks()
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm")
        attends = isinstance(config, SlidingWindowConfig)
        self.window_size = config.window_size if attends else None

    def _make_blocks(self) -> list[Any]:
        raise NotImplementedError

    def _common(self, name: str) -> dict[str, Any]:
        """What every block is told."""
        return {"seed": derive_seed(self.seed, name), "quantize": self.rounding, "name": name}

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.stem.build((None, input_shape[-1]))
        for block in self.blocks:
            block.build((None, None, self.width))
        self.norm.build((None, self.width))

    @property
    def state_names(self) -> tuple[str, ...]:
        """`clock`, `lstm_0.h`, …."""
        parts = [f"{b.name}.{part}" for b in self.blocks for part in STATE_NAMES[type(b)]]
        return tuple(parts) if self.window_size is None else ("clock", *parts)

    def initial_state(self, batch_size: int) -> State:
        """Returns a clock at 0, zeros and empty rings."""
        clock = () if self.window_size is None else ops.zeros((batch_size,), "int32")
        parts = (
            block.attention.initial_cache(batch_size)
            if isinstance(block, AttentionBlock)
            else block.initial_state(batch_size)
            for block in self.blocks
        )
        return clock, tuple(parts)

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """See `TemporalLayer.step`."""
        (clock, parts), window = state, None
        if self.window_size is not None:
            clock = clock if is_resetting is None else ops.where(is_resetting, 0, clock)
            window, clock = step_window(clock, self.window_size), clock + 1
        x, after = self.stem(x), []
        for block, part in zip(self.blocks, parts, strict=True):
            seen: Any = window if isinstance(block, AttentionBlock) else is_resetting
            x, new_part = block.step(x, part, seen)
            after.append(new_part)
        return self.norm(x), (clock, tuple(after))

    def _unroll_segment(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool
    ) -> tuple[Tensor, State]:
        (clock, parts), window = state, None
        if self.window_size is not None:
            window = unroll_window(clock, is_resetting, self.window_size)
            clock = window.num_visible[:, -1]

        def unroll(block: Any, x: Tensor, part: State) -> tuple[Tensor, State]:
            seen: Any = window if isinstance(block, AttentionBlock) else is_resetting
            return block.unroll(x, part, seen, training=training)

        calls = [functools.partial(unroll, block) for block in self.blocks]
        x, after = self._in_order(calls, self.stem(x), parts)
        return self.norm(x), (clock, after)

    def _recurrent(self, name: str) -> RecurrentBlock:
        return RecurrentBlock(self.width, dropout=self.config.dropout, **self._common(name))


class TxLikeBackbone(BlockStack[TxLikeConfig]):
    """`lstm_0`, `feed_forward_0`, `lstm_1`, …."""

    def _make_blocks(self) -> list[Any]:
        return [block for i in range(self.config.num_layers) for block in self._layer(i)]

    def _layer(self, i: int) -> tuple[RecurrentBlock, FeedForwardBlock]:
        feed_forward = FeedForwardBlock(
            self.width,
            expand_factor=self.config.expand_factor,
            dropout=self.config.dropout,
            **self._common(f"feed_forward_{i}"),
        )
        return self._recurrent(f"lstm_{i}"), feed_forward


class HybridBackbone(BlockStack[HybridConfig]):
    """`lstm_0`, `attention_0`, `lstm_1`, …."""

    def _make_blocks(self) -> list[Any]:
        return [block for i in range(self.config.num_layers) for block in self._layer(i)]

    def _layer(self, i: int) -> tuple[RecurrentBlock, AttentionBlock]:
        attention = AttentionBlock(self.config, **self._common(f"attention_{i}"))
        return self._recurrent(f"lstm_{i}"), attention


class JambaBackbone(BlockStack[JambaConfig]):
    """`mamba_0`, …, and `attention_i` in every place that `attention_every` divides."""

    def _make_blocks(self) -> list[Any]:
        return [self._block(i) for i in range(self.config.num_layers)]

    def _block(self, i: int) -> MambaBlock | AttentionBlock:
        config = self.config
        if (i + 1) % config.attention_every == 0:
            return AttentionBlock(config, **self._common(f"attention_{i}"))
        return MambaBlock(
            config.width,
            state_size=config.state_size,
            expand_factor=config.expand_factor,
            conv_size=config.conv_size,
            dropout=config.dropout,
            **self._common(f"mamba_{i}"),
        )
