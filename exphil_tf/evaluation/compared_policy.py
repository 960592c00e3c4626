"""A policy that is measured beside others, whatever its form: of a run, or an exported bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exphil_tf.evaluation.results import Curve
from exphil_tf.evaluation.training_log import LOG_NAME, read_curves
from exphil_tf.features.conditions import DELAY, NAME
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.inference.bundle_codec import codec_of
from exphil_tf.inference.conditions import Conditions
from exphil_tf.inference.session import MODEL
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import Manifest
from exphil_tf.training.player_table import translation
from exphil_tf.training.run_folder import find_bundle
from models.parameter_count import num_parameters
from models.policy_config import PolicyConfig

if TYPE_CHECKING:
    from exphil_tf.evaluation.episodes import Perspective
    from exphil_tf.evaluation.policy_runners import Runner


@dataclass(frozen=True)
class ComparedPolicy:
    """A policy, opened, and what it is told."""

    name: str
    facts: Mapping[str, str | int | float]
    """What it is: form, backbone, parameters, checksum of its weights, delay."""
    codec: ControllerCodec
    conditions: Conditions
    make_runner: Callable[[], Runner] = field(repr=False)
    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve], repr=False)
    """Of its training, if there is a log beside it."""
    weights: Callable[[], Mapping[str, tuple[int, ...]]] = field(default=dict, repr=False)
    """Shape of each of its arrays, by name."""
    delay: int = 0
    """Frames between a state and the input that answers it, beyond 1."""
    ids: Mapping[str, int] = field(default_factory=dict[str, int])
    """What it is told alike of every game."""
    players: tuple[int, ...] | None = None
    """Its id of each of the dataset's players; None if it knows none."""

    def told(self, perspective: Perspective) -> Perspective:
        """A perspective with the conditions that this policy is told of it."""
        names = perspective.columns[NAME]
        own = np.asarray(self.players or (0,), np.int32)
        named = own[names] if self.players else np.zeros_like(names)
        alike = {name: np.full_like(names, number) for name, number in self.ids.items()}
        return perspective._replace(columns={**perspective.columns, NAME: named, **alike})


def open_compared(folder: Path, *, jit: bool) -> ComparedPolicy:
    """Opens a run's policy, a policy bundle or an exported one.

    Args:
      folder: of it.
      jit: compile a Keras policy with XLA.

    Raises: UserError: if there is none (66), it is damaged (65) or of another schema (78), or is an
      export that plays windows.
    """
    return _exported(folder) if (folder / MODEL).is_file() else _keras(folder, jit=jit)


def as_asked(
    policy: ComparedPolicy, manifest: Manifest, *, frame_delay: int | None = None, **said: Any
) -> ComparedPolicy:
    """The policy at the delay and with the words that were asked for.

    Args:
      policy: as it was opened.
      manifest: of the dataset, whose players have ids of its own.
      frame_delay: None for the policy's own.
      **said: `player_style`, `desired_return` and `key` of `Conditions.ids`.

    Raises: UserError: names the policy that cannot be told that.
    """
    delay = policy.conditions.delay.frames if frame_delay is None else frame_delay
    try:
        ids = policy.conditions.ids(frame_delay=frame_delay, **said)
    except UserError as error:
        raise UserError(f"{policy.name}: {error}", exit_code=error.exit_code) from error
    ids = {name: number for name, number in ids.items() if name != DELAY}
    facts = {**policy.facts, "frame_delay": delay, **{f"told {n}": v for n, v in ids.items()}}
    players = _players(policy.conditions, manifest)
    return replace(policy, delay=delay, ids=ids, facts=facts, players=players)


def named_apart(policies: Sequence[ComparedPolicy], folders: Sequence[Path]) -> list[str]:
    """A name for each: its own, or its path where two have the same.

    Raises: UserError: if one folder is given twice.
    """
    names = [policy.name for policy in policies]
    found = [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: given twice", "Name each policy once.")
    return found


def _exported(folder: Path) -> ComparedPolicy:
    bundle = open_bundle(folder)
    config = bundle.config
    if config.form != "step":
        raise UserError(
            f"{folder}: plays {config.form}s, not a frame at a time",
            "Export a step: python -m exphil_tf.export RUN --output BUNDLE --form step.",
        )
    codec = codec_of(config)

    def make_runner() -> Runner:
        with quiet_import():
            from exphil_tf.evaluation.policy_runners import OnnxRunner

        return OnnxRunner(bundle, codec)

    origin = config.provenance.get("weights_sha256", "unknown")
    try:
        network = PolicyConfig.from_dict(config.policy)
    except ValueError as error:
        raise UserError(f"{folder}: {error}", exit_code=EXIT_DATA) from error
    facts = _facts(network, f"onnx {config.precision}", str(origin))
    return ComparedPolicy(
        folder.resolve().name,
        facts,
        codec,
        config.told(),
        make_runner,
        weights=lambda: _initializers(bundle.model),
    )


def _initializers(model: bytes) -> dict[str, tuple[int, ...]]:
    import onnx

    arrays = onnx.load_model_from_string(model).graph.initializer
    return {array.name: tuple(array.dims) for array in arrays}


def _keras(folder: Path, *, jit: bool) -> ComparedPolicy:
    bundle = find_bundle(folder)
    with quiet_import():
        from exphil_tf.checkpoints.policy_bundle import load_policy, named_weights
        from exphil_tf.evaluation.policy_conditions import conditions_of
        from exphil_tf.evaluation.policy_runners import KerasRunner

    policy, info = load_policy(bundle)
    home = bundle.resolve().parent if bundle.name == "policy" else bundle.resolve()
    sha256 = atomic.sha256(bundle / "weights.safetensors")
    return ComparedPolicy(
        home.name,
        _facts(info.config, "keras float32", sha256),
        info.config.head.codec,
        conditions_of(info),
        lambda: KerasRunner(policy, jit=jit),
        read_curves(home / LOG_NAME),
        lambda: {name: tuple(v.shape) for name, v in named_weights(policy).items()},
    )


def _facts(config: PolicyConfig, form: str, sha256: str) -> dict[str, str | int | float]:
    return {
        "form": form,
        "backbone": config.backbone.backbone,
        "parameters": num_parameters(config),
        "axis_buckets": config.head.codec.num_axis,
        "weights_sha256": sha256,
    }


def _players(conditions: Conditions, manifest: Manifest) -> tuple[int, ...] | None:
    known = conditions.players
    if known is None or NAME not in conditions.spans:
        return None
    is_keyed_alike = known.key == manifest.config.get("pseudonyms", "")
    return translation(manifest, known.ids if is_keyed_alike else {})
