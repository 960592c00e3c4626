"""Where a policy at play comes from: an exported bundle, or a run that still needs TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exphil_tf.agents.agent import FrameStepper
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import CONFIG, Bundle, open_bundle
from exphil_tf.inference.bundle_codec import codec_of
from exphil_tf.inference.conditions import Conditions
from exphil_tf.inference.session import MODEL
from exphil_tf.inference.stepper import Stepper
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.rewards.win_score import Weights


@dataclass(frozen=True)
class PolicySource:
    """A policy that steppers can be made of."""

    folder: Path
    kind: str
    """`onnx` or `keras`."""
    conditions: Conditions
    """What it can be told, and the delays that it was trained for."""
    codec: ControllerCodec
    """What its buckets mean."""
    facts: Mapping[str, Any]
    """What `config.json` says of it: precision, network, origin; plain values."""
    make: Callable[..., FrameStepper] = field(repr=False)
    """Makes a stepper of `batch_size`, `seed`, `threads` and `told`."""
    win_weights: Weights | None = None
    """Of the score, by which it knows how probable a win is; None if it does not."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where the policy came from (`checkpoints.provenance`), as far as it is told."""

    @property
    def sizes(self) -> dict[str, int]:
        """Logits per component, in sampling order."""
        return self.codec.sizes

    def stepper(
        self,
        *,
        batch_size: int = 1,
        seed: int = 0,
        threads: int = 1,
        told: Mapping[str, int] = MappingProxyType({}),
    ) -> FrameStepper:
        """A policy at play; see `Stepper`."""
        return self.make(batch_size=batch_size, seed=seed, threads=threads, told=told)


def open_policy(folder: Path) -> PolicySource:
    """Opens an exported bundle, or the policy of a run's folder.

    Raises: UserError: if there is neither (66), it is damaged (65), of another schema (78), or an
      export that plays windows and no frames (2).
    """
    if (folder / MODEL).is_file():
        return of_bundle(open_bundle(folder))
    if not folder.is_dir() or not any(
        (folder / name).is_file() for name in (f"policy/{CONFIG}", CONFIG)
    ):
        raise UserError(
            f"{folder}: want an exported policy or a run's folder. Received: neither",
            "Export one: python -m exphil_tf.export RUN --output BUNDLE.",
            exit_code=EXIT_NO_INPUT,
        )
    from exphil_tf.foundation.tensorflow_import import quiet_import

    with quiet_import():
        from exphil_tf.agents.keras_source import open_keras

    return open_keras(folder)


def of_bundle(bundle: Bundle) -> PolicySource:
    """The source that an opened bundle is.

    Raises: UserError: if it plays windows.
    """
    config = bundle.config
    if config.form != "step":
        raise UserError(
            f"{bundle.folder}: plays {config.form}s, not a frame at a time",
            "Export a step: python -m exphil_tf.export RUN --output BUNDLE --form step.",
        )

    def make(**options: Any) -> Stepper:
        return Stepper(bundle, **options)

    facts = {"precision": config.precision, "policy": dict(config.policy)}
    return PolicySource(
        bundle.folder,
        "onnx",
        config.told(),
        codec_of(config),
        facts | {"provenance": dict(config.provenance)},
        make,
        config.win_probability,
        dict(config.provenance.get("training") or {}),
    )
