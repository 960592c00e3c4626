"""The trunks between embedding and head, by the name a configuration gives them."""

from models.backbones.attention import SlidingWindowBackbone
from models.backbones.base import Backbone
from models.backbones.mamba import MambaBackbone
from models.backbones.mlp import MLPBackbone
from models.backbones.recurrent import LSTMBackbone

BACKBONES: dict[str, type[Backbone]] = {
    "mlp": MLPBackbone,
    "lstm": LSTMBackbone,
    "mamba": MambaBackbone,
    "sliding_window": SlidingWindowBackbone,
}
