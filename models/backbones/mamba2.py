"""A stack of Mamba-2 blocks: as Mamba's, with another block."""

from models.backbones.backbone_options import Mamba2Config
from models.backbones.mamba import MambaBackbone
from models.layers.mamba2 import Mamba2Block


class Mamba2Backbone(MambaBackbone):
    """State: one block's state per layer."""

    config: Mamba2Config

    def _block(self, name: str) -> Mamba2Block:
        options = self._block_options(name)
        return Mamba2Block(self.config.width, num_heads=self.config.mamba_heads, **options)
