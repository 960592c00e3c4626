"""Backbones of one size, whatever options each has."""

import dataclasses
from typing import Any

from models.backbones import BACKBONES
from models.backbones.backbone_options import BackboneConfig


def any_backbone(name: str, **sizes: Any) -> BackboneConfig:
    """A backbone's options, with those of `sizes` that it has."""
    own = {field.name for field in dataclasses.fields(BACKBONES[name]) if field.init}
    return BACKBONES[name](**{key: value for key, value in sizes.items() if key in own})
