"""Builds a network only as large as the weights that are there for it.

A configuration can ask for more memory than any machine has, and Keras fills a weight while it
makes it. So while a policy from elsewhere is rebuilt, every weight is looked up among those of its
file before it is made: what is built can never be larger than what was stored.

Estimating the size from the configuration was dropped: it would say a second time, for each
backbone, what its `build` says.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import keras


class WrongWeights(ValueError):
    """Weights that are not those of the network."""


@contextlib.contextmanager
def only_weights_of(shapes: Iterable[tuple[int, ...]]) -> Iterator[None]:
    """Lets layers make weights of these shapes, each as often as it is given.

    Raises: WrongWeights: from the layer that would make another.
    """
    left = Counter(shapes)
    make = keras.layers.Layer.add_weight

    def add_weight(layer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        wanted = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if not left[wanted]:
            raise WrongWeights(f"{layer.path}: no weight of shape {list(wanted)} is left")
        left[wanted] -= 1
        return make(layer, shape, *args, **kwargs)

    setattr(keras.layers.Layer, "add_weight", add_weight)  # noqa: B010 - typed as a method
    try:
        yield
    finally:
        setattr(keras.layers.Layer, "add_weight", make)  # noqa: B010
