"""Makes a graph choose given buckets, so that its logits are those of what somebody else did.

An autoregressive head draws each component given those before it, inside the graph; its logits are
teacher-forced only if the graph itself draws what is to be forced.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FORCING_TEMPERATURE = 1e6
"""Noise of this scale outweighs any logit."""
_FORCED = np.nextafter(np.float32(1), np.float32(0))
"""The greatest uniform: its noise is the greatest there is."""


def force(targets: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
    """Uniforms that make a graph choose given buckets at `FORCING_TEMPERATURE`.

    Args:
      targets: int32 `[…, 13]`, buckets side by side in sampling order.
      sizes: logits per component, in that order (`ControllerCodec.sizes`).

    Returns: float32 `[…, logits]`.
    """
    counts = list(sizes.values())
    buttons = targets[..., : counts[0]].astype(np.float32)
    parts = [buttons]
    for place, size in enumerate(counts[1:], start=counts[0]):
        parts.append(np.eye(size, dtype=np.float32)[targets[..., place]])
    return np.concatenate(parts, axis=-1) * _FORCED
