"""A backbone of one class and one entry of the table, and every command that meets backbones.

    python toy_backbone.py DATASET

trains, fine-tunes, exports and times a policy with it, in the current folder.
"""

import sys
from dataclasses import dataclass, field

from exphil_tf.foundation.kinds import option
from models.backbones import BACKBONES
from models.backbones.backbone_options import BackboneConfig


@dataclass(frozen=True)
class ToyConfig(BackboneConfig):
    """A moving average of what a dense layer says."""

    backbone: str = field(default="toy", init=False)
    decay: float = option(0.5)
    """Share of the average that stays."""

    def floats_per_frame(self, frames: int) -> int:
        """See the base class."""
        return 2 * self.width

    def num_parameters(self, features: int) -> int:
        """See the base class."""
        return (features + 1) * self.width

    def layer_class(self):
        """See the base class."""
        return toy_layer()


def toy_layer():
    """The layer, in a function as this file is also read before Keras is imported."""
    import keras

    from models.backbones.base import Backbone

    class ToyBackbone(Backbone[ToyConfig]):
        """State: the average."""

        def build(self, input_shape):
            self.stem = self._dense(self.width, "stem")
            self.stem.build((None, input_shape[-1]))

        @property
        def state_names(self):
            return ("average",)

        def initial_state(self, batch_size):
            return keras.ops.zeros((batch_size, self.width))

        def step(self, x, state, is_resetting):
            if is_resetting is not None:
                state = keras.ops.where(is_resetting[:, None], 0.0, state)
            kept = self.config.decay
            state = kept * state + (1.0 - kept) * self.stem(x)
            return state, state

        def unroll(self, x, state, is_resetting, *, training=False):
            averages = []
            for time in range(x.shape[1]):
                y, state = self.step(x[:, time], state, is_resetting[:, time])
                averages.append(y)
            return keras.ops.stack(averages, axis=1), state

    return ToyBackbone


SMALL = (
    "--hidden", "8", "--head-hidden", "4", "--action-dim", "4", "--batch-size", "4",
    "--window-size", "6", "--max-steps", "3", "--seed", "1", "--no-jit", "--block-records", "4",
)  # fmt: skip


def main(dataset: str) -> None:
    """Runs the commands; raises if one fails."""
    from exphil_tf import benchmark, export, train

    toy = ("--backbone", "toy", "--decay", "0.75", "--data", dataset, *SMALL)
    bundles = {"float": ("runs/toy", "float32"), "int8": ("runs/qat", "int8-qat")}
    steps = [
        (train, [*toy, "--dry-run"]),
        (train, [*toy, "--name", "toy"]),
        (train, ["--init-from", "runs/toy", "--qat", "--name", "qat", "--max-steps", "2"]),
    ]
    for name, (run, precision) in bundles.items():
        asked = ["--precision", precision, "--parity-frames", "100"]
        steps.append((export, [run, "--output", name, *asked]))
    timing = ["--frames", "20", "--batch-sizes", "1", "--threads", "1", "--output", "latency"]
    steps.append((benchmark, ["latency", *bundles, *timing]))
    for command, argv in steps:
        code = command.main(argv)
        assert code == 0, (command.__name__, argv, code)


BACKBONES["toy"] = ToyConfig

if __name__ == "__main__":
    main(sys.argv[1])
