"""Backbones of one size, whatever options each has."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from models.backbones import BACKBONES
from models.backbones.backbone_options import BackboneConfig


def any_backbone(name: str, **sizes: Any) -> BackboneConfig:
    """A backbone's options, with those of `sizes` that it has; Jamba has at least two blocks."""
    if name == "jamba" and "num_layers" in sizes:
        sizes["num_layers"] = max(2, sizes["num_layers"])
    own = {field.name for field in dataclasses.fields(BACKBONES[name]) if field.init}
    return BACKBONES[name](**{key: value for key, value in sizes.items() if key in own})


def wake(layer: Any, seed: int = 0) -> Any:
    """Moves weights that start at zero, which would hide what lies behind them."""
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        if not np.any(variable.value):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return layer


def having(option: str) -> str:
    """In words, the backbones that have an option."""
    *others, last = [n for n, cls in BACKBONES.items() if option in cls.__dataclass_fields__]
    return f"{', '.join(others)} and {last}" if others else last


QUICK = ("mlp", "lstm", "mamba", "sliding_window")
"""Whose exports are tested by default: the others are made of their layers, but for GRU and SSD."""


def each(*quick: str, has_memory: bool = False) -> list[Any]:
    """Every backbone as a test's parameter, slow unless it is quick.

    Args:
      quick: names; none for `QUICK`.
      has_memory: only backbones with memory.
    """
    names = [n for n, cls in BACKBONES.items() if cls.has_memory or not has_memory]
    chosen = quick or QUICK
    return [n if n in chosen else pytest.param(n, marks=pytest.mark.slow) for n in names]
