"""What the buckets of an exported policy mean."""

from __future__ import annotations

from dataclasses import replace

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.inference.bundle_config import BundleConfig


def codec_of(config: BundleConfig) -> ControllerCodec:
    """The codec that a bundle's policy was trained with, as far as its buckets tell.

    Raises: ValueError: if they are no codec's.
    """
    values = config.codec
    within_reach = bool(dict(config.policy.get("head", {})).get("prev_action_buckets", False))
    codec = ControllerCodec(
        axis_buckets=len(values["axis_centres"]),
        shoulder_buckets=len(values["shoulder_centres"]),
        within_reach=within_reach,
    )
    if codec.bucket_values()["axis_centres"] == values["axis_centres"]:
        return codec
    return replace(codec, axis_centres=tuple(values["axis_centres"]))
