"""`keras.ops` as the rest of this package imports it: the same module, untyped.

Keras carries no annotations, and a type checker infers `None` for many of its functions (from
their symbolic branches). Declaring the module `Any` says honestly that tensors go unchecked.
"""

from typing import Any

import keras

ops: Any = keras.ops
