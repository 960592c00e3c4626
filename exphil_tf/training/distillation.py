"""A student learns from a teacher's whole distribution, not only from the action that was taken.

The teacher reads the same augmented, delayed batch inside the student's compiled step, its later
components of an action conditioned on the human's earlier ones, as the student's are. So nothing is
stored, and its logits fit every augmentation. Stored ones (`training.soft_labels`) take its place
where a teacher is too slow to be asked again in each epoch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.checkpoints.provenance import data_of, nested
from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE
from exphil_tf.training.distill_config import DistillationConfig
from exphil_tf.training.loss_term import LossTerm, StepOutputs
from exphil_tf.training.soft_label_records import TeacherLogitsFn
from models.carried_state import CarriedState
from models.heads import distribution
from models.heads.distribution import Logits
from models.policy import Policy
from models.policy_inputs import Batch, PolicyInputs, unroll_on

# -- The loss --------------------------------------------------------------------------------------


def divergence(teacher: Logits, student: Logits, *, temperature: float) -> Any:
    """T² KL(teacher / T || student / T) of each frame, summed over the controller's components.

    The gradient of a tempered KL with respect to the student's logits shrinks as 1/T², so T² keeps
    the soft loss as strong as the hard one whatever T is, and alpha means the same at every
    temperature (Hinton, Vinyals & Dean 2015, section 2; https://arxiv.org/abs/1503.02531).

    Args:
      teacher: logits by component, float32 `[…, buckets]`; no gradient flows into them.
      student: likewise.
      temperature: T, positive.

    Returns: float32 `[…]`, nats times T².
    """
    soft = {name: tf.stop_gradient(value) / temperature for name, value in teacher.items()}
    other = {name: value / temperature for name, value in student.items()}
    return temperature**2 * sum(distribution.kl(soft, other).values())


class DistillationTerm(LossTerm):
    """(1 - alpha) · the loss so far + alpha · `divergence`, while training.

    Validation always goes by what the human did.

    Args:
      teacher_logits_fn: the teacher.
      config: alpha and temperature.
      carried: what the teacher remembers of the batch before.
    """

    name = "distillation"

    def __init__(
        self,
        teacher_logits_fn: TeacherLogitsFn,
        config: DistillationConfig,
        *,
        carried: Mapping[str, tf.Variable] = MappingProxyType({}),
    ):
        self.carried = carried
        self._teacher_logits_fn = teacher_logits_fn
        self._config = config

    def add(self, loss: Any, outputs: StepOutputs, *, training: bool) -> tuple[Any, dict[str, Any]]:
        """As `LossTerm.add`; measures nothing of its own."""
        if not training:
            return loss, {}
        alpha, temperature = self._config.alpha, self._config.temperature
        teacher = self._teacher_logits_fn(outputs.batch, outputs.inputs)
        soft = divergence(teacher, outputs.logits, temperature=temperature)
        return (1 - alpha) * loss + alpha * soft, {}


def distillation_terms(
    teacher_logits_fn: TeacherLogitsFn,
    config: DistillationConfig,
    *,
    carried: Mapping[str, tf.Variable] = MappingProxyType({}),
) -> tuple[LossTerm, ...]:
    """The teacher's share of the loss; nothing at all for alpha 0, so that nobody is asked."""
    if config.alpha == 0:
        return ()
    return (DistillationTerm(teacher_logits_fn, config, carried=carried),)


# -- The teacher -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Teacher:
    """A trained policy that gives logits and never learns."""

    policy: Policy
    info: PolicyInfo
    identity: Mapping[str, Any]
    """Plain values that name it by content: see `describe_teacher`."""
    carried: CarriedState | None = None
    """Its memory, where the rows of batches go on from one to the next."""

    def logits(self, batch: Batch, inputs: PolicyInputs) -> Logits:
        """Of each frame of a batch, without dropout; a `TeacherLogitsFn`."""
        del batch
        return unroll_on(self.policy, inputs, self.carried)


def load_teacher(bundle: Path, *, carried_rows: int = 0, carried_turns: int = 1) -> Teacher:
    """The policy of a bundle.

    Args:
      bundle: its folder.
      carried_rows: rows of a batch, if they go on from batch to batch; 0 where they do not.
      carried_turns: batches after which they go on.

    Raises: UserError: as `checkpoints.policy.load_policy`.
    """
    policy, info = bundles.load_policy(bundle)
    policy.trainable = False
    carried = None
    if carried_rows:
        carried = CarriedState(policy, carried_rows, turns=carried_turns)
    return Teacher(policy, info, describe_teacher(bundle, info), carried)


def describe_teacher(bundle: Path, info: PolicyInfo | None = None) -> dict[str, Any]:
    """A teacher by content, wherever its folder lies: what a student's provenance says of it.

    `nll` is in nats per frame on the validation split of the data that `manifest_sha256` names, as
    its training measured it; None where that is unknown.
    """
    info = info or bundles.read_info(bundle)
    came_from = info.provenance
    imitates = nested(came_from, "data", "manifest_sha256") is not None  # others count rewards
    return {
        "weights_sha256": atomic.sha256(bundle / bundles.WEIGHTS),
        "policy_sha256": hashlib.sha256(info.config.to_json().encode()).hexdigest(),
        "backbone": info.config.backbone.backbone,
        "created": came_from.get("created"),
        "seed": came_from.get("seed"),
        "git_commit": came_from.get("git_commit"),
        "manifest_sha256": data_of(came_from).get("manifest_sha256"),
        "window_size": info.window_size,
        "nll": nested(came_from, "results", "progress", "best") if imitates else None,
    }


def check_teacher(info: PolicyInfo, config: InputConfig, codec: ControllerCodec) -> None:
    """Refuses a teacher whose logits don't mean what the student's do.

    A schema that differs is refused on loading; embeddings may differ.

    Args:
      info: of the teacher.
      config: how the student, or who stores the teacher's answers, reads the dataset.
      codec: of the student.

    Raises: UserError: (78) names what differs.
    """
    theirs = info.config.head.codec
    for what, flag, a, b in (
        ("stick buckets", "--axis-buckets", theirs.centres, codec.centres),
        ("shoulder buckets", "--shoulder-buckets", theirs.shoulder_centres, codec.shoulder_centres),
    ):
        if len(a) != len(b) or any(x != y for x, y in zip(a, b, strict=True)):
            received = f"{len(b)}" if len(a) != len(b) else "the same number at other places"
            raise UserError(
                f"teacher: want its {len(a)} {what}. Received: {received}",
                f"Give the student {flag}{' or --kmeans-centers' * (flag == '--axis-buckets')} "
                "as its teacher has them.",
                exit_code=EXIT_INCOMPATIBLE,
            )
    low, high = config.delays(training=True)
    seen = info.delay.trained_min, info.delay.trained_max
    if not seen[0] <= low <= high <= seen[1]:
        raise UserError(
            f"teacher: knows delays of {seen[0]} to {seen[1]} frames. Received: {low} to {high}",
            "Choose --frame-delay within them, or another teacher.",
            exit_code=EXIT_INCOMPATIBLE,
        )


def teacher_notes(info: PolicyInfo, config: InputConfig, *, manifest_sha256: str) -> list[str]:
    """Sentences about a teacher that is asked under other conditions than it was trained under."""
    has_memory = info.config.backbone.has_memory
    window, burn_in = config.window_size, config.burn_in
    trained_on = data_of(info.provenance).get("manifest_sha256")
    found = []
    if has_memory and window < info.window_size:
        found.append(
            f"window_size {window} gives the teacher less memory than the {info.window_size} "
            "frames that it was trained with"
        )
    if has_memory and not burn_in and config.loss_frames == "all":
        found.append("burn_in 0 also asks the teacher about frames before its memory is warm")
    if info.config.embedding.learn_player_styles and trained_on != manifest_sha256:
        found.append("the teacher knows players by numbers, which mean others in this dataset")
    return found
