"""A policy bundle: one folder that a policy can be rebuilt from, and nothing that can run code.

`config.json` holds the network's configuration, the codec, the schema it reads, the delay it was
trained for, whose styles it learnt and where it came from; `weights.safetensors` the weights by
name (the averaged ones where training averaged); `checksums.json` a sha256 of each. Model code is
built from the JSON.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from exphil_tf.checkpoints.expected_weights import WrongWeights, only_weights_of
from exphil_tf.checkpoints.file_names import CONFIG, WEIGHTS
from exphil_tf.checkpoints.store import NonFiniteError, require_finite
from exphil_tf.features.delay import Delay
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind, declared_of
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.rewards import win_score
from models.policy import Policy
from models.policy_config import LARGEST, PolicyConfig, QuantizationConfig

FORMAT = "exphil-tf policy"
FORMAT_VERSION = 1
_KEYS = {
    "format", "format_version", "policy", "codec", "schema", "delay", "weights", "window_size",
    "provenance", "players", "win_probability",
}  # fmt: skip
_DTYPES = {"F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "BOOL": "bool"}
_MAX_WEIGHTS = 4 << 30
"""Bytes; a policy has some megabytes."""


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
    players: KnownPlayers | None = None
    """Whose styles it learnt; None if it learnt none, or an older release trained it."""
    win_probability: win_score.Weights | None = None
    """Of the score, by name (`rewards.win_score`); None where none was learnt."""

    def __post_init__(self) -> None:
        """Raises ValueError naming what makes no sense."""
        if self.weights not in ("raw", "ema"):
            raise ValueError(f"weights: want raw or ema. Received: {self.weights!r:.40}")
        if type(self.window_size) is not int or not 1 <= self.window_size <= LARGEST:
            raise ValueError(
                f"window_size: want 1 to {LARGEST:,}. Received: {self.window_size!r:.40}"
            )
        for name in ("provenance", "win_probability"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) and (name == "provenance" or value is not None):
                raise ValueError(f"{name}: want an object. Received: {value!r:.40}")
        if self.win_probability is not None:
            win_score.as_vector(self.win_probability)


def save_policy(
    folder: Path,
    policy: Policy,
    info: PolicyInfo,
    *,
    attached: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Publishes a bundle, replacing an older one in the same place.

    Args:
      folder: of the bundle, by habit `policy/` in a run.
      policy: its present weights are written.
      info: its `config` must be the policy's.
      attached: further files, by name, that what plays the policy does not read.

    Raises: NonFiniteError: if a weight is NaN or infinite; OSError: if the disk is full.
    """
    weights = {name: np.asarray(v.value) for name, v in named_weights(policy).items()}
    require_finite(weights.items())
    with atomic.publish(folder) as temporary:
        atomic.write_json(temporary / CONFIG, _to_json(info))
        atomic.write_bytes(temporary / WEIGHTS, safetensors.numpy.save(weights))
        for name, content in attached.items():
            atomic.write_bytes(temporary / name, content)


def load_policy(folder: Path) -> tuple[Policy, PolicyInfo]:
    """Rebuilds a bundle's policy.

    Raises: UserError: if there is no bundle (66), it is damaged or foreign (65), or was trained on
      another schema, whose differing fields are listed (78).
    """
    info = read_info(folder)
    try:
        with safetensors.safe_open(folder / WEIGHTS, framework="numpy") as stored:
            return _rebuild(info.config, stored), info
    except NonFiniteError as error:
        raise _damaged(folder, f"{WEIGHTS}: {error}") from error
    except WrongWeights as error:
        raise _damaged(folder, f"{WEIGHTS} does not fit its {CONFIG}: {error}") from error
    except safetensors.SafetensorError as error:
        raise _damaged(folder, f"{WEIGHTS}: {error!s:.200}") from error


def _rebuild(config: PolicyConfig, stored: Any) -> Policy:
    """A policy with the weights of an opened file, of which each is looked at before it is made.

    Raises: WrongWeights: if they are another network's; NonFiniteError: naming the weight.
    """
    slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 - no dict
    shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    with only_weights_of(shapes.values()):
        policy = Policy(config, name="policy")
    expected = named_weights(policy)
    wrong = sorted(set(expected) ^ set(shapes)) or [
        f"{name} (want {v.dtype} {list(v.shape)})"
        for name, v in expected.items()
        if tuple(v.shape) != shapes[name] or _DTYPES.get(slices[name].get_dtype()) != v.dtype
    ]
    if wrong:
        raise WrongWeights(", ".join(f"{name:.80}" for name in wrong[:4]))
    for name, variable in expected.items():
        array = stored.get_tensor(name)
        require_finite([(name, array)])
        variable.assign(array)
    return policy


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


def _network_differences(one: PolicyConfig, other: PolicyConfig) -> list[str]:
    here, there = _what_it_computes(one), _what_it_computes(other)
    return [
        f"{name} ({there.get(name)!r} there, {value!r} here)"
        for name, value in here.items()
        if there.get(name) != value
    ]


def _what_it_computes(config: PolicyConfig) -> dict[str, Any]:
    """The fields that change a number of a trained network's answer, by `part.name`."""
    parts = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    plain = config.to_dict()
    return {
        f"{name}.{field.name}": plain[name][field.name]
        for name, part in parts.items()
        for field in dataclasses.fields(part)
        if declared_of(type(part), field).kind is Kind.NETWORK
    }


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
    weights = folder / WEIGHTS
    # One that is missing is named with the rest of what the checksums tell.
    if weights.exists() and (not weights.is_file() or weights.stat().st_size > _MAX_WEIGHTS):
        raise _damaged(folder, f"{WEIGHTS}: want a file of at most {_MAX_WEIGHTS:,} bytes")
    found = atomic.problems(folder)
    if found:
        raise _damaged(folder, found[0])
    try:
        values = atomic.read_json(folder / CONFIG)
    except ValueError as error:
        raise _damaged(folder, f"{CONFIG}: {error!s:.200}") from error
    return _from_json(folder, values)


def named_weights(policy: Policy) -> dict[str, Any]:
    """Weights by a name that doesn't depend on what else the process has built."""
    named = {variable.path.split("/", 1)[1]: variable for variable in policy.weights}
    if len(named) != len(policy.weights):
        raise ValueError(f"policy.weights: want unique names. Received: {sorted(named)}")
    return named


def _to_json(info: PolicyInfo) -> dict[str, Any]:
    values: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "policy": info.config.to_dict(),
        "codec": info.config.head.codec.bucket_values(),
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
    if info.players is not None:
        values["players"] = info.players.to_dict()
    if info.win_probability is not None:
        values["win_probability"] = dict(info.win_probability)
    return values


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
        unknown = sorted(values.keys() - _KEYS)
        if unknown:
            raise ValueError(f"unknown keys {unknown!r:.120}")
        _check_schema(folder, values["schema"])
        config = PolicyConfig.from_dict(values["policy"])
        if values["codec"] != config.head.codec.bucket_values():
            raise _incompatible(folder, "its controller codec decodes to other values")
        return PolicyInfo(
            config=config,
            delay=Delay(**values["delay"]),
            weights=values["weights"],
            window_size=values["window_size"],
            provenance=values["provenance"],
            players=KnownPlayers.from_dict(values["players"]) if "players" in values else None,
            win_probability=values.get("win_probability"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else f"{error!s:.300}"
        raise _damaged(folder, f"{CONFIG}: {reason}") from error


def _check_schema(folder: Path, schema: Mapping[str, Any]) -> None:
    if schema["fingerprint"] == SCHEMA.fingerprint() and schema["row_bytes"] == ROW_BYTES:
        return
    raise _incompatible(folder, SCHEMA.mismatch(schema["fingerprint"], schema["digests"]))


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
