"""`keras.ops` as the rest of this package imports it, and what it does not do well.

Keras carries no annotations, and a type checker infers `None` for many of its functions (from
their symbolic branches). Declaring the module `Any` says honestly that tensors go unchecked.

On TensorFlow, `keras.ops.take` adds four operations for negative indices, `keras.ops.argmax` six
for negative zeros (one of which ONNX lacks), and a product with a sequence of one frame six. In an
exported step, where an operation costs about a microsecond, that is a third of the frame.
"""

from typing import Any

import keras

ops: Any = keras.ops


def dense_value(weight: Any) -> Any:
    """A weight's value in float32, whose gradient is a plain tensor even through a look-up.

    TensorFlow gives sparse gradients (IndexedSlices) for look-ups in a variable, which break code
    that sums or averages gradients, and asks a custom gradient with a variable in it for more than
    others. XLA drops the product.
    """
    return ops.cast(ops.convert_to_tensor(weight), "float32") * 1.0


def take_rows(table: Any, index: Any) -> Any:
    """Returns rows of `table [rows, …]` for non-negative int32 `index [*]`: `[*, …]`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(table, index)
    return ops.take(table, index, axis=0)


def take_features(x: Any, index: Any) -> Any:
    """Returns the features of `x [*, features]` at constant non-negative places: `[*, places]`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(x, index, axis=-1)
    return ops.take(x, index, axis=-1)


def last_argmax(x: Any) -> Any:
    """Returns int32 places of the largest value along the last axis, the first of equal ones."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.argmax(x, axis=-1, output_type="int32")
    return ops.cast(ops.argmax(x, axis=-1), "int32")


def matmul(x: Any, kernel: Any) -> Any:
    """Returns `x [*, fan_in] @ kernel [fan_in, fan_out]`.

    A sequence of one frame stays one broadcast product; `keras.ops.matmul` would flatten and
    restore it with six operations.
    """
    if len(x.shape) == 3 and x.shape[1] == 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(x, kernel)
    return ops.matmul(x, kernel)


def sum_frames(x: Any) -> Any:
    """Returns the float32 sum of `x [batch, time, channels]` by channel, `[channels]`.

    A product, since XLA on a CPU does not vectorise a sum along leading axes whose terms it
    computes on the way: such a sum of 16 × 80 × 512 products takes 2.4 ms instead of 0.8.
    """
    x = ops.cast(x, "float32")
    return ops.sum(ops.matmul(ops.ones_like(x[:, None, :, 0]), x)[:, 0], axis=0)


def gelu(x: Any) -> Any:
    """Exact GELU, written with erf: `keras.ops.gelu` takes erfc, which ONNX lacks."""
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


def incoming_gradients(args: tuple, upstream: Any = None) -> list[Any]:
    """What a custom gradient is handed for each output, in order.

    TensorFlow hands one by one, JAX a nest, torch the nest by the name `upstream`.
    """
    return keras.tree.flatten(args if upstream is None else upstream)


def has_gpu() -> bool:
    """Whether this process computes on a GPU: where that decides the form of a loop."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    return False


def frames_a_turn() -> int:
    """Frames of a recurrence in a turn of its loop: a GPU waits for every turn.

    On an H200, eight make an update of two LSTM layers of 256 take 0.57 of the time for 16 unrolls
    of 80 frames, 0.72 for 128, 0.89 for 512. On a CPU they change nothing but compile longer.
    """
    return 8 if has_gpu() else 1
