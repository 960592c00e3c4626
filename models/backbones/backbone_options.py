"""The backbones' options: a frozen dataclass for each, with exactly the fields that it uses.

Each also says whether the backbone has memory, how wide its output is, what a frame costs in
training, and which layer it is. A class of its own beside each layer, but not in the layer's
module: options are read, and mistakes in them refused, before Keras is imported, which takes 8 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from exphil_tf.foundation.kinds import Kind, option
from models.quantization_config import Rounding, check_at_least

if TYPE_CHECKING:
    from models.backbones.base import Backbone

MOST_LAYERS = 1024


def dense_parameters(features: int, units: int) -> int:
    """Kernel and bias of a dense layer."""
    return features * units + units


def recurrent_parameters(features: int, width: int, *, gates: int) -> int:
    """The projection of a recurrent layer's input and its recurrent kernel."""
    return dense_parameters(features, gates * width) + gates * width * width


@dataclass(frozen=True)
class BackboneConfig:
    """What lies between embedding and head; the base of every backbone's options."""

    KIND: ClassVar = Kind.NETWORK
    has_memory: ClassVar[bool] = True
    """Whether its output depends on earlier frames."""

    backbone: str = field(default="", init=False)
    """Its name: what `--backbone` takes."""
    hidden: tuple[int, ...] = (128, 128)
    """Layer widths; a backbone with memory has one width, which may be repeated."""
    dropout: float = option(0.0, kind=Kind.TRAINING)
    """Dropped share of activations while training."""
    gradient_checkpoint: bool = option(False, kind=Kind.TRAINING)
    """Compute what layers leave for the gradients again instead of keeping it: memory for time."""
    checkpoint_every: int = option(1, kind=Kind.TRAINING, only_with={"gradient_checkpoint": True})
    """Layers between activations that gradient_checkpoint keeps."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not self.hidden:
            raise ValueError("backbone.hidden: want at least one width. Received: ()")
        check_at_least("len(backbone.hidden)", len(self.hidden), 1, most=MOST_LAYERS)
        for width in self.hidden:
            check_at_least("backbone.hidden", width, 1)
        check_at_least("backbone.checkpoint_every", self.checkpoint_every, 1)
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"backbone.dropout: want 0 <= x < 1. Received: {self.dropout!r}")

    @property
    def width(self) -> int:
        """Numbers that the head reads of it, per frame."""
        return self.hidden[-1]

    def for_unroll(self, frames: int) -> Self:
        """The same with what follows from the unroll's length."""
        del frames
        return self

    def floats_per_frame(self, frames: int) -> int:
        """Floats that a frame leaves behind for the gradients, in all layers: an estimate.

        Args:
          frames: of the unroll.
        """
        raise NotImplementedError

    def num_parameters(self, features: int) -> int:
        """Trainable numbers of its layer, which a plan counts without making it.

        Args:
          features: numbers per frame that the layer reads.
        """
        raise NotImplementedError

    def layer_class(self) -> type[Backbone[Any]]:
        """The Keras layer that it configures; Keras is imported only now."""
        raise NotImplementedError

    def layer(self, *, seed: int = 0, quantize: Rounding | None = None, **kwargs) -> Backbone[Any]:
        """Makes the layer.

        Args:
          seed: initial weights and dropout are functions of it.
          quantize: how operands of matrix products are rounded to 8 bits; None for not at all.
          kwargs: of the Keras layer, such as `name`.
        """
        return self.layer_class()(self, seed=seed, quantize=quantize, **kwargs)


@dataclass(frozen=True)
class MLPConfig(BackboneConfig):
    """Dense layers, frame by frame."""

    has_memory: ClassVar[bool] = False

    backbone: str = field(default="mlp", init=False)
    layer_norm: bool = False
    """LayerNorm after each layer."""
    residual: bool = False
    """Residual connections between layers (projected where widths differ)."""

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        return len(self.hidden) * 3 * max(self.hidden)

    def num_parameters(self, features: int) -> int:
        """See the base class."""
        total = 0
        for width in self.hidden:
            total += dense_parameters(features, width) + 2 * width * self.layer_norm
            total += features * width * (self.residual and features != width)
            features = width
        return total

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.mlp import MLPBackbone

        return MLPBackbone


@dataclass(frozen=True)
class TemporalConfig(BackboneConfig):
    """Equal blocks with memory."""

    num_layers: int = 2
    """Blocks."""
    truncate_bptt: int | None = option(None, kind=Kind.TRAINING)
    """Frames after which gradients through the carried state are cut; None never cuts."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        if len(set(self.hidden)) > 1:
            raise ValueError(
                f"backbone.hidden: want one width, as {self.backbone} has equal blocks "
                f"(num_layers): --hidden {self.hidden[0]}. Received: {self.hidden}"
            )
        check_at_least("backbone.num_layers", self.num_layers, 1, most=MOST_LAYERS)
        if self.truncate_bptt is not None:
            check_at_least("backbone.truncate_bptt", self.truncate_bptt, 1)


@dataclass(frozen=True)
class LSTMConfig(TemporalConfig):
    """A stack of LSTM layers."""

    backbone: str = field(default="lstm", init=False)

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        return self.num_layers * 8 * self.width

    def num_parameters(self, features: int) -> int:
        """A norm, and the layers with a norm behind each; the first reads the features."""
        first = recurrent_parameters(features, self.width, gates=4)
        other = recurrent_parameters(self.width, self.width, gates=4)
        norms = 2 * features + self.num_layers * 2 * self.width
        return norms + first + (self.num_layers - 1) * other

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.recurrent import LSTMBackbone

        return LSTMBackbone


@dataclass(frozen=True)
class GRUConfig(TemporalConfig):
    """A stack of GRU layers."""

    backbone: str = field(default="gru", init=False)

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        return self.num_layers * 8 * self.width

    def num_parameters(self, features: int) -> int:
        """As `LSTMConfig`; each layer's candidate has a bias on its recurrent part, too."""
        first = recurrent_parameters(features, self.width, gates=3)
        other = recurrent_parameters(self.width, self.width, gates=3)
        norms = 2 * features + self.num_layers * 2 * self.width
        biases = self.num_layers * self.width
        return norms + first + (self.num_layers - 1) * other + biases

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.recurrent import GRUBackbone

        return GRUBackbone


@dataclass(frozen=True)
class TxLikeConfig(TemporalConfig):
    """Per layer an LSTM and a feed-forward block, both residual."""

    backbone: str = field(default="tx_like", init=False)
    expand_factor: int = 2
    """Mamba's inner width, and a feed-forward block's hidden width, as a multiple of the width."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        check_at_least("backbone.expand_factor", self.expand_factor, 1)

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        return self.num_layers * (10 + 3 * self.expand_factor) * self.width

    def num_parameters(self, features: int) -> int:
        """The stem, a recurrent and a feed-forward block per layer, and a norm."""
        grown = self.expand_factor * self.width
        feed_forward = dense_parameters(self.width, grown) + dense_parameters(grown, self.width)
        recurrent = recurrent_parameters(self.width, self.width, gates=4)
        layer = recurrent + 2 * self.width + feed_forward
        return dense_parameters(features, self.width) + self.num_layers * layer + 2 * self.width

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.block_stack import TxLikeBackbone

        return TxLikeBackbone


@dataclass(frozen=True)
class MambaConfig(TemporalConfig):
    """A stack of Mamba blocks."""

    backbone: str = field(default="mamba", init=False)
    state_size: int = 16
    """Mamba's states per channel."""
    expand_factor: int = 2
    """Mamba's inner width, and a feed-forward block's hidden width, as a multiple of the width."""
    conv_size: int = 4
    """Frames under Mamba's causal convolution."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        for name in ("state_size", "expand_factor", "conv_size"):
            check_at_least(f"backbone.{name}", getattr(self, name), 1)

    def floats_per_frame(self, frames: int) -> int:
        """In_proj, conv, gate, Δ and the scan's input and output, each expand_factor wide."""
        return self.num_layers * 8 * self.expand_factor * self.width

    def num_parameters(self, features: int) -> int:
        """The stem, the blocks and a norm."""
        blocks = self.num_layers * self.mamba_block_parameters()
        return dense_parameters(features, self.width) + blocks + self.width

    def mamba_block_parameters(self) -> int:
        """A norm, projections, convolution, rates and skip."""
        width, inner, rank = self.width, self.expand_factor * self.width, max(self.width // 16, 1)
        projections = width * 2 * inner + inner * (rank + 2 * self.state_size) + inner * width
        projections += dense_parameters(rank, inner)
        return width + projections + inner * (self.conv_size + 1 + self.state_size + 1)

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.mamba import MambaBackbone

        return MambaBackbone


@dataclass(frozen=True)
class Mamba2Config(MambaConfig):
    """A stack of Mamba-2 blocks."""

    backbone: str = field(default="mamba2", init=False)
    mamba_heads: int = 8
    """Groups of Mamba-2's inner channels, each with one decay; divides the inner width."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        check_at_least("backbone.mamba_heads", self.mamba_heads, 1)
        if self.inner % self.mamba_heads:
            raise ValueError(
                f"backbone.mamba_heads: want a divisor of the inner width, {self.inner}. "
                f"Received: {self.mamba_heads}"
            )

    @property
    def inner(self) -> int:
        """Channels of the scan."""
        return self.expand_factor * self.width

    def floats_per_frame(self, frames: int) -> int:
        """In_proj, conv, gate, scan; and each head's weights of a chunk's frames, three times."""
        return self.num_layers * (8 * self.inner + 8 * self.state_size + 96 * self.mamba_heads)

    def mamba_block_parameters(self) -> int:
        """Norms, projections in and out, convolution, and a step, decay and skip per head."""
        inner, mixed = self.inner, self.inner + 2 * self.state_size
        projections = self.width * (inner + mixed + self.mamba_heads) + inner * self.width
        convolution = (self.conv_size + 1) * mixed
        return self.width + projections + convolution + 2 * inner + 2 * self.mamba_heads

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.mamba2 import Mamba2Backbone

        return Mamba2Backbone


@dataclass(frozen=True)
class SlidingWindowConfig(TemporalConfig):
    """A stack of attention blocks over the last frames."""

    backbone: str = field(default="sliding_window", init=False)
    expand_factor: int = 2
    """Mamba's inner width, and a feed-forward block's hidden width, as a multiple of the width."""
    num_heads: int = 4
    """Attention heads; must divide the width."""
    window_size: int = option(80, is_derived=True)
    """Frames an attention layer sees, the present one included: as many as an unroll has."""
    qk_layernorm: bool = True
    """Normalise queries and keys per head, which bounds attention logits."""
    chunked_attention: bool = option(False, kind=Kind.TRAINING)
    """Attend in query chunks of chunk_size; the result is the same. The default, blocks of a
    window, takes less time and memory (docs/speed.md)."""
    chunk_size: int = option(
        32,
        kind=Kind.TRAINING,
        only_with={"chunked_attention": True, "memory_efficient_attention": True},
    )
    """Queries per attention chunk with chunked_attention."""
    memory_efficient_attention: bool = option(False, kind=Kind.TRAINING)
    """Walk each chunk's keys in blocks with an online softmax; the result is the same, and blocks
    of a window take less time and memory (docs/speed.md)."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        for name in ("expand_factor", "num_heads", "window_size", "chunk_size"):
            check_at_least(f"backbone.{name}", getattr(self, name), 1)
        if self.width % self.num_heads:
            raise ValueError(
                "backbone.num_heads: want a divisor of the width. "
                f"Received: num_heads={self.num_heads}, hidden={self.hidden}"
            )

    def for_unroll(self, frames: int) -> Self:
        """Attention sees as many frames as an unroll has."""
        return replace(self, window_size=frames)

    def floats_per_frame(self, frames: int) -> int:
        """Also each head's weights of the frames that it sees."""
        return self.num_layers * (8 * self.width + self.num_heads * frames)

    def num_parameters(self, features: int) -> int:
        """The stem, the blocks and a norm."""
        blocks = self.num_layers * self.attention_block_parameters()
        return dense_parameters(features, self.width) + blocks + 2 * self.width

    def attention_block_parameters(self) -> int:
        """Two norms, attention with a bias by age, and the feed-forward."""
        width, grown = self.width, self.expand_factor * self.width
        attention = dense_parameters(width, 3 * width) + dense_parameters(width, width)
        attention += self.window_size * self.num_heads
        feed_forward = dense_parameters(width, grown) + dense_parameters(grown, width)
        return attention + feed_forward + 4 * width

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.attention import SlidingWindowBackbone

        return SlidingWindowBackbone


@dataclass(frozen=True)
class HybridConfig(SlidingWindowConfig):
    """Per layer an LSTM and an attention block, both residual."""

    backbone: str = field(default="hybrid", init=False)

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        return super().floats_per_frame(frames) + self.num_layers * 8 * self.width

    def num_parameters(self, features: int) -> int:
        """The stem, a recurrent and an attention block per layer, and a norm."""
        layer = recurrent_parameters(self.width, self.width, gates=4)
        layer += self.attention_block_parameters()
        return dense_parameters(features, self.width) + self.num_layers * layer + 2 * self.width

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.block_stack import HybridBackbone

        return HybridBackbone


@dataclass(frozen=True)
class JambaConfig(SlidingWindowConfig, MambaConfig):
    """Mamba blocks, some of them replaced by attention blocks."""

    backbone: str = field(default="jamba", init=False)
    attention_every: int = 2
    """Every so-manieth block attends, the others are Mamba's."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        if not 2 <= self.attention_every <= self.num_layers:
            raise ValueError(
                "backbone.attention_every: want 2 <= x <= num_layers, for blocks of both kinds. "
                f"Received: attention_every={self.attention_every}, num_layers={self.num_layers}"
            )

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        of_each = [cls.floats_per_frame(self, frames) for cls in (SlidingWindowConfig, MambaConfig)]
        attending = self.num_layers // self.attention_every
        shares = (attending, self.num_layers - attending)
        return sum(n * floats // self.num_layers for n, floats in zip(shares, of_each, strict=True))

    def num_parameters(self, features: int) -> int:
        """The stem, the blocks and a norm."""
        attending = self.num_layers // self.attention_every
        blocks = attending * self.attention_block_parameters()
        blocks += (self.num_layers - attending) * self.mamba_block_parameters()
        return dense_parameters(features, self.width) + blocks + 2 * self.width

    def layer_class(self) -> type[Backbone[Any]]:
        """See the base class."""
        from models.backbones.block_stack import JambaBackbone

        return JambaBackbone


BACKBONES: dict[str, type[BackboneConfig]] = {
    "mlp": MLPConfig,
    "lstm": LSTMConfig,
    "gru": GRUConfig,
    "tx_like": TxLikeConfig,
    "mamba": MambaConfig,
    "mamba2": Mamba2Config,
    "sliding_window": SlidingWindowConfig,
    "hybrid": HybridConfig,
    "jamba": JambaConfig,
}
"""By the name that `--backbone` takes, in the order of help."""
