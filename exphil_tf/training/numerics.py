"""What Keras and TensorFlow keep per process, and a run decides: precision, seeds, determinism."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from exphil_tf.training.run_config import Precision

_DTYPE_POLICIES: dict[Precision, str] = {"f32": "float32", "bf16": "mixed_bfloat16"}


def share_gpus() -> None:
    """Takes GPU memory as it is needed; call it before TensorFlow runs anything."""
    for device in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # the process has used it already: as it is, then
            tf.config.experimental.set_memory_growth(device, True)


@contextlib.contextmanager
def numerics(*, seed: int, precision: Precision, is_deterministic: bool) -> Iterator[None]:
    """Sets the process up for what is made inside the block.

    The precision of layers is as before afterwards; seeds and determinism stay.
    """
    share_gpus()
    keras.utils.set_random_seed(seed)
    if is_deterministic:
        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_DTYPE_POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
