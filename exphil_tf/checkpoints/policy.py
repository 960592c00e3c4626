"""A policy bundle: one folder that a policy can be rebuilt from, and nothing that can run code.

`config.json` holds the network's configuration, the codec, the schema it reads, the delay it was
trained for and where it came from; `weights.safetensors` the weights by name (the averaged ones
where training averaged); `checksums.json` a sha256 of each. Model code is built from the JSON.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from exphil_tf.checkpoints import atomic
from exphil_tf.checkpoints.store import require_finite
from exphil_tf.errors import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT, UserError
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from models.config import PolicyConfig, QuantizationConfig
from models.policy import Policy

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
FORMAT = "exphil-tf policy"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Delay:
    """Frames between a state and the input that answers it, beyond the 1 that the game takes."""

    frames: int = 0
    """The delay to play with."""
    trained_min: int = 0
    """Least delay seen in training."""
    trained_max: int = 0
    """Greatest delay seen in training."""


@dataclass(frozen=True)
class PolicyInfo:
    """What a bundle says of its policy besides the weights."""

    config: PolicyConfig
    delay: Delay = field(default_factory=Delay)
    weights: str = "raw"
    """`raw`, or `ema` where they are moving averages."""
    window_size: int = 60
    """Frames of context that training unrolled."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from (`checkpoints.provenance`), plain values."""


def save_policy(folder: Path, policy: Policy, info: PolicyInfo) -> None:
    """Publishes a bundle, replacing an older one in the same place.

    Args:
      folder: of the bundle, by habit `policy/` in a run.
      policy: its present weights are written.
      info: its `config` must be the policy's.

    Raises: NonFiniteError: if a weight is NaN or infinite; OSError: if the disk is full.
    """
    weights = {name: np.asarray(v.value) for name, v in named_weights(policy).items()}
    require_finite(weights.items())
    with atomic.publish(folder) as temporary:
        atomic.write_json(temporary / CONFIG, _to_json(info))
        atomic.write_bytes(temporary / WEIGHTS, safetensors.numpy.save(weights))


def load_policy(folder: Path) -> tuple[Policy, PolicyInfo]:
    """Rebuilds a bundle's policy.

    Raises: UserError: if there is no bundle (66), it is damaged or foreign (65), or was trained on
      another schema, whose differing fields are listed (78).
    """
    info = read_info(folder)
    policy = Policy(info.config, name="policy")
    weights = _read_weights(folder)
    expected = named_weights(policy)
    wrong = sorted(set(expected) ^ set(weights)) or [
        name for name, v in expected.items() if tuple(v.shape) != weights[name].shape
    ]
    if wrong:
        raise _damaged(folder, f"{WEIGHTS} does not fit its {CONFIG}: {', '.join(wrong[:4])}")
    for name, variable in expected.items():
        variable.assign(weights[name])
    return policy, info


def start_from(policy: Policy, folder: Path) -> PolicyInfo:
    """Gives a policy another bundle's weights, quantized or not.

    Activation ranges that the bundle lacks are left as they are.

    Raises: UserError: as `load_policy`, and (78) if the bundle is of another network.
    """
    source, info = load_policy(folder)
    differing = _network_differences(policy.config, info.config)
    if differing:
        raise UserError(
            f"{folder}: its network differs: {', '.join(differing[:6])}",
            "Leave these options out, or start from a bundle that has them.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    _copy_weights(source, policy)
    return info


def requantized(policy: Policy, quantization: QuantizationConfig) -> Policy:
    """The same weights under another quantization; ranges that are new start wide."""
    config = dataclasses.replace(policy.config, quantization=quantization)
    copy = Policy(config, name="policy")
    _copy_weights(policy, copy)
    return copy


_FREE = ("dropout", "truncate_bptt", "chunked_attention", "chunk_size")
"""Options of the trunk that change no number of a trained network's answer."""


def _network_differences(one: PolicyConfig, other: PolicyConfig) -> list[str]:
    flat = [
        {f"{part}.{name}": v for part, values in c.to_dict().items() for name, v in values.items()}
        for c in (one, other)
    ]
    ignored = {f"backbone.{name}" for name in (*_FREE, "memory_efficient_attention")}
    ignored |= {"embedding.unrecorded"}
    return [
        f"{name} ({flat[1].get(name)!r} there, {value!r} here)"
        for name, value in flat[0].items()
        if flat[1].get(name) != value
        and name not in ignored
        and not name.startswith("quantization.")
    ]


def _copy_weights(source: Policy, target: Policy) -> None:
    given = named_weights(source)
    for name, variable in named_weights(target).items():
        if name in given:
            variable.assign(given[name].value)


def read_info(folder: Path) -> PolicyInfo:
    """What a bundle says of its policy, after its bytes were verified; raises as `load_policy`."""
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder}: no policy bundle here (no {CONFIG})",
            "Give the policy/ folder of a run, or train one: python -m exphil_tf.train.",
            exit_code=EXIT_NO_INPUT,
        )
    found = atomic.problems(folder)
    if found:
        raise _damaged(folder, found[0])
    try:
        values = json.loads((folder / CONFIG).read_bytes())
    except ValueError as error:
        raise _damaged(folder, f"{CONFIG}: {error}") from error
    return _from_json(folder, values)


def named_weights(policy: Policy) -> dict[str, Any]:
    """Weights by a name that doesn't depend on what else the process has built."""
    named = {variable.path.split("/", 1)[1]: variable for variable in policy.weights}
    if len(named) != len(policy.weights):
        raise ValueError(f"policy.weights: want unique names. Received: {sorted(named)}")
    return named


def _to_json(info: PolicyInfo) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "policy": info.config.to_dict(),
        "codec": codec_values(info.config.head.codec),
        "schema": {
            "fingerprint": SCHEMA.fingerprint(),
            "row_bytes": ROW_BYTES,
            "digests": SCHEMA.digests(),
        },
        "delay": dataclasses.asdict(info.delay),
        "weights": info.weights,
        "window_size": info.window_size,
        "provenance": dict(info.provenance),
    }


def codec_values(codec: ControllerCodec) -> dict[str, list[float]]:
    """What buckets decode to, as bundles and exports hold it."""
    return {
        "axis_centres": [float(v) for v in codec.centres],
        "shoulder_centres": [float(v) for v in codec.shoulder_centres],
    }


def _from_json(folder: Path, values: Any) -> PolicyInfo:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _damaged(folder, f"{CONFIG}: want format {FORMAT!r}")
    if values.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder}: want format version {FORMAT_VERSION}. "
            f"Received: {values.get('format_version')!r:.40}",
            "Use the release that wrote it, or export it again.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    try:
        _check_schema(folder, values["schema"])
        config = PolicyConfig.from_dict(values["policy"])
        if values["codec"] != codec_values(config.head.codec):
            raise _incompatible(folder, "its controller codec decodes to other values")
        return PolicyInfo(
            config=config,
            delay=Delay(**values["delay"]),
            weights=values["weights"],
            window_size=values["window_size"],
            provenance=values["provenance"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, f"{CONFIG}: {error}") from error


def _check_schema(folder: Path, schema: Mapping[str, Any]) -> None:
    if schema["fingerprint"] == SCHEMA.fingerprint() and schema["row_bytes"] == ROW_BYTES:
        return
    raise _incompatible(folder, SCHEMA.mismatch(schema["fingerprint"], schema["digests"]))


def _read_weights(folder: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load((folder / WEIGHTS).read_bytes())
    except safetensors.SafetensorError as error:
        raise _damaged(folder, f"{WEIGHTS}: {error}") from error


def _incompatible(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: {reason}",
        "Use the release that trained it, or train again.",
        exit_code=EXIT_INCOMPATIBLE,
    )


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: not a sound policy bundle: {reason}",
        "Copy it again, or resume its run, which exports it anew.",
        exit_code=EXIT_DATA,
    )
