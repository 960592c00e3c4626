"""What every backbone shares: its options, dropout, and truncated backpropagation through time."""

import functools
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import keras

from models.backbones.backbone_options import BackboneConfig, TemporalConfig
from models.layers.backend import ops
from models.layers.dense import dense
from models.layers.dropout import Dropout
from models.layers.recompute import recomputed
from models.layers.seeding import derive_seed
from models.layers.temporal import State, TemporalLayer, Tensor
from models.quantization_config import Rounding

LayerCall = Callable[[Tensor, State], tuple[Tensor, State]]
"""`(x, state of the layer) -> (x, new state)`."""
Options = TypeVar("Options", bound=BackboneConfig)
TemporalOptions = TypeVar("TemporalOptions", bound=TemporalConfig)


class Backbone(TemporalLayer, Generic[Options]):
    """`[batch, time, features]` to `[batch, time, width]` under the temporal contract.

    Subclasses build their layers in `build`, and implement `initial_state`, `step` and `unroll`.

    Args:
      config: its options.
      seed: initial weights and dropout are functions of it.
      quantize: how operands of matrix products are rounded to 8 bits; None for not at all.
    """

    def __init__(
        self, config: Options, *, seed: int = 0, quantize: Rounding | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        self.config = config
        self.seed = seed
        self.rounding: Rounding | None = quantize
        self.width = config.width

    @property
    def state_names(self) -> tuple[str, ...]:
        """A name per tensor of the state, in flattened order, such as `block_0.scan`."""
        raise NotImplementedError

    def _dense(self, units: int, name: str, **options) -> keras.layers.Dense:
        return dense(units, name, seed=self.seed, quantize=self.rounding, **options)

    def _dropout(self, name: str) -> Dropout:
        """Returns dropout with a seed generator of its own, which is part of the saved state."""
        return Dropout(self.config.dropout, seed=derive_seed(self.seed, name), name=name)

    def _in_order(
        self, calls: Sequence[LayerCall], x: Tensor, states: Sequence[State]
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Unrolls layers one after the other, with gradient checkpointing if it is asked for."""
        every = self.config.checkpoint_every if self.config.gradient_checkpoint else 0

        def several(x: Tensor, states: tuple[State, ...], calls: Sequence[LayerCall]) -> tuple:
            after = []
            for call, state in zip(calls, states, strict=True):
                x, new_state = call(x, state)
                after.append(new_state)
            return x, tuple(after)

        if not every:
            return several(x, tuple(states), calls)
        after: tuple[State, ...] = ()
        for start in range(0, len(calls), every):
            part = slice(start, start + every)
            x, new = recomputed(
                functools.partial(several, calls=calls[part]), x, tuple(states[part])
            )
            after += new
        return x, after


class TemporalBackbone(Backbone[TemporalOptions], Generic[TemporalOptions]):
    """A backbone with memory: subclasses implement `_unroll_segment` instead of `unroll`."""

    def unroll(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool = False
    ) -> tuple[Tensor, State]:
        """See `TemporalLayer.unroll`; cuts the carried state's gradient every `truncate_bptt`."""
        time, segment = x.shape[1], self.config.truncate_bptt
        if segment is None or segment >= time:
            return self._unroll_segment(x, state, is_resetting, training=training)
        outputs = []
        for start in range(0, time, segment):
            frames = slice(start, min(start + segment, time))
            state = keras.tree.map_structure(ops.stop_gradient, state)
            y, state = self._unroll_segment(
                x[:, frames], state, is_resetting[:, frames], training=training
            )
            outputs.append(y)
        return ops.concatenate(outputs, axis=1), state

    def _unroll_segment(
        self, x: Tensor, state: State, is_resetting: Tensor, *, training: bool
    ) -> tuple[Tensor, State]:
        """Unrolls without cutting gradients."""
        raise NotImplementedError
