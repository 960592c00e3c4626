"""`keras.ops` as the rest of this package imports it: the same module, untyped.

Keras carries no annotations, and a type checker infers `None` for many of its functions (from
their symbolic branches). Declaring the module `Any` says honestly that tensors go unchecked.
"""

from typing import Any

import keras

ops: Any = keras.ops


def dense_value(table: keras.Variable) -> Any:
    """A table's value in float32, whose gradient is a plain tensor even through a look-up.

    TensorFlow gives sparse gradients (IndexedSlices) for look-ups in a variable, which break code
    that sums or averages gradients. XLA drops the product.
    """
    return ops.cast(ops.convert_to_tensor(table), "float32") * 1.0
