"""The policy of a run as something to play; imports TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exphil_tf.agents.keras_stepper import KerasStepper
from exphil_tf.agents.policy_source import PolicySource
from exphil_tf.checkpoints.policy_bundle import load_policy
from exphil_tf.evaluation.policy_conditions import conditions_of
from exphil_tf.training.run_folder import find_bundle


def open_keras(folder: Path) -> PolicySource:
    """Opens the policy of a run's folder, or a policy bundle.

    Raises: UserError: as of `load_policy`.
    """
    policy, info = load_policy(find_bundle(folder))

    def make(**options: Any) -> KerasStepper:
        options.pop("threads", None)
        return KerasStepper(policy, info, **options)

    return PolicySource(
        folder,
        "keras",
        conditions_of(info),
        policy.config.head.codec,
        {"precision": "float32", "policy": info.config.to_dict()},
        make,
        info.win_probability,
        info.provenance,
    )
