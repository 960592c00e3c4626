"""A stack of Mamba blocks: dense in, residual blocks with dropout on their branch, RMS norm."""

from typing import Any

from models.backbones.backbone_options import MambaConfig
from models.backbones.base import TemporalBackbone
from models.layers.channel_scale import RMSNorm
from models.layers.mamba import MambaBlock
from models.layers.mamba2 import Mamba2Block
from models.layers.seeding import derive_seed
from models.layers.temporal import State, Tensor
from models.quantization_config import Rounding


class MambaBackbone(TemporalBackbone[MambaConfig]):
    """State: one block's state per layer."""

    def __init__(
        self, config: MambaConfig, *, seed: int = 0, quantize: Rounding | None = None, **kwargs
    ):
        super().__init__(config, seed=seed, quantize=quantize, **kwargs)
        self.stem = self._dense(config.width, "stem")
        self.blocks = [self._block(f"block_{i}") for i in range(config.num_layers)]
        self.norm = RMSNorm(epsilon=1e-6, name="norm")

    def _block(self, name: str) -> MambaBlock | Mamba2Block:
        return MambaBlock(self.config.width, **self._block_options(name))

    def _block_options(self, name: str) -> dict[str, Any]:
        config = self.config
        return {
            "state_size": config.state_size,
            "expand_factor": config.expand_factor,
            "conv_size": config.conv_size,
            "dropout": config.dropout,
            "seed": derive_seed(self.seed, name),
            "quantize": self.rounding,
            "name": name,
        }

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.stem.build((None, input_shape[-1]))
        for block in self.blocks:
            block.build((None, None, self.width))
        self.norm.build((None, self.width))

    @property
    def state_names(self) -> tuple[str, ...]:
        """`block_0.conv`, `block_0.scan`, …."""
        return tuple(f"{block.name}.{part}" for block in self.blocks for part in ("conv", "scan"))

    def initial_state(self, batch_size: int) -> State:
        """Returns zeros per block."""
        return tuple(block.initial_state(batch_size) for block in self.blocks)

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """See `TemporalLayer.step`."""
        # One frame as a sequence of one: convolution and scan broadcast without a reshape each.
        x, after = self.stem(x)[:, None], []
        for block, part in zip(self.blocks, state, strict=True):
            x, new_part = block.step_frame(x, part, is_resetting)
            after.append(new_part)
        return self.norm(x)[:, 0], tuple(after)

    def _unroll_segment(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool
    ) -> tuple[Tensor, State]:
        calls = [
            lambda x, part, block=block: block.unroll(x, part, is_resetting, training=training)
            for block in self.blocks
        ]
        x, after = self._in_order(calls, self.stem(x), state)
        return self.norm(x), after
