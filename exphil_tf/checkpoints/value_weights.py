"""A value head in a policy's bundle: one file beside the policy's weights, which may be missing.

`value.safetensors` holds the weights by name, and in its metadata what the head is built from and
the half-life of the rewards that it speaks of. What plays or exports a policy never opens it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from exphil_tf.checkpoints.expected_weights import only_weights_of
from exphil_tf.checkpoints.store import require_finite
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.rewards.terms import WEIGHTS
from models.heads.value import ValueHead

VALUE_WEIGHTS = "value.safetensors"


class StoredValueHead(NamedTuple):
    """A value head with what its values mean."""

    head: ValueHead
    half_life_frames: float
    """Of the rewards that it was taught with."""


def value_file(value: StoredValueHead) -> bytes:
    """The content of `value.safetensors`.

    Raises: NonFiniteError: if a weight is NaN or infinite.
    """
    head = value.head
    facts = {
        "width": head.width,
        "hidden": [layer.units for layer in head.hidden_layers],
        "half_life_frames": value.half_life_frames,
        "rewards": dict(WEIGHTS),
    }
    weights = {name: np.asarray(v.value) for name, v in _named(head).items()}
    require_finite(weights.items())
    return safetensors.numpy.save(weights, metadata={"value_head": json.dumps(facts)})


def load_value_head(folder: Path, *, stop_gradient: bool = True) -> StoredValueHead | None:
    """The value head of a policy bundle; None where the bundle has none.

    Args:
      folder: of the bundle.
      stop_gradient: see `ValueHead`.

    Raises: UserError: (65) if the bundle is damaged or the file is none.
    """
    path = folder / VALUE_WEIGHTS
    if not path.exists():
        return None
    found = atomic.problems(folder)
    if found:
        raise _damaged(folder, found[0])
    try:
        with safetensors.safe_open(path, framework="numpy") as stored:
            facts = json.loads((stored.metadata() or {})["value_head"])
            head = _rebuild(facts, stored, stop_gradient=stop_gradient)
            return StoredValueHead(head, float(facts["half_life_frames"]))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, f"{VALUE_WEIGHTS}: {error!s:.200}") from error


def _rebuild(facts: Mapping[str, Any], stored: Any, *, stop_gradient: bool) -> ValueHead:
    """A head with the weights of an opened file, which are looked at before any is made."""
    shapes = [tuple(stored.get_slice(name).get_shape()) for name in stored.keys()]  # noqa: SIM118
    with only_weights_of(shapes):
        head = ValueHead(facts["width"], hidden=facts["hidden"], stop_gradient=stop_gradient)
    for name, variable in _named(head).items():
        array = stored.get_tensor(name)
        require_finite([(name, array)])
        variable.assign(array)
    return head


def _named(head: ValueHead) -> dict[str, Any]:
    return {variable.path.split("/", 1)[1]: variable for variable in head.weights}


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: not a sound policy bundle: {reason}",
        "Copy it again, or resume its run, which exports it anew.",
        exit_code=EXIT_DATA,
    )
