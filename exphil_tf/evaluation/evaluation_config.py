"""How a policy is measured; free of TensorFlow."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from exphil_tf.foundation.kinds import Kind, option

Split = Literal["validation", "test", "train"]


@dataclass(frozen=True)
class FramesConfig:
    """On which frames policies are measured, be it one or several side by side."""

    KIND: ClassVar = Kind.RESULT

    split: Split = "validation"
    """Games to measure on. Baselines are always fitted on train."""
    batch_size: int = 16
    """Unrolls at a time; of several policies: players' views of games."""
    unroll_frames: int = 512
    """Frames that a policy reads in one go; at most a chunk, and where memory is carried at most
    what the dataset's overlap holds."""
    frame_delay: tuple[int, ...] = ()
    """Frames between a state and the input that answers it; none means what the policy was made
    for. Of several, the report is about the first, and tells nats at the others."""
    player_style: str | None = None
    """Predict everybody in the style of this player: connect code, netplay name, tag or pseudonym;
    none means each player's own, if the policy knows it."""
    desired_return: float | None = None
    """Ask for this return of the coming second, in percent: dealt minus taken, a stock being 100;
    none asks for nothing in particular."""
    limit_frames: int = 0
    """Stop after about so many frames; 0 measures all."""
    baseline_frames: int = 2_000_000
    """Frames of the train split on which baselines are fitted; 0 takes all."""
    jit: bool = True
    """Compile with XLA: slower to start, faster from then on."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        lowest = {"batch_size": 1, "unroll_frames": 1, "limit_frames": 0, "baseline_frames": 0}
        _check(self, lowest)


@dataclass(frozen=True)
class EvaluationConfig(FramesConfig):
    """How one policy is measured."""

    carry_state: bool = True
    """Carry memory over whole games, as play does; otherwise each unroll starts with empty memory,
    as it does where a dataset's chunks do not overlap."""
    compare_resets: bool = option(True, only_with={"carry_state": True})
    """Also measure with memory emptied at every unroll, of the length and burn-in that the policy
    was trained with; not with --limit-frames, as other frames would come first."""
    burn_in: int = option(60, only_with={"carry_state": False})
    """Frames that only warm up the memory of an unroll, except at a game's start; at most what the
    dataset's overlap holds."""
    by_return: bool = False
    """Also measure what the policy is predicted to gain at each level of the desired return."""
    own_action_frames: int = 100_000
    """Frames on which the policy is fed its own actions, to see whether it gets stuck; 0 leaves
    that out."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        super().__post_init__()
        _check(self, {"burn_in": 0, "own_action_frames": 0})


def of_one_policy() -> frozenset[str]:
    """Names of the options that say nothing of several policies side by side."""
    common = {field.name for field in dataclasses.fields(FramesConfig)}
    return frozenset(f.name for f in dataclasses.fields(EvaluationConfig)) - common


def _check(config: object, lowest: Mapping[str, int]) -> None:
    for name, low in lowest.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name}: want at least {low}. Received: {getattr(config, name)}")
