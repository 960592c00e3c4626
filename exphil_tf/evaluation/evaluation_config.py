"""How a policy is measured; free of TensorFlow."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from exphil_tf.foundation.kinds import Kind, option

Split = Literal["validation", "test", "train"]


@dataclass(frozen=True)
class EvaluationConfig:
    """On which frames a policy is measured, and how it reads them."""

    KIND: ClassVar = Kind.RESULT

    split: Split = "validation"
    """Games to measure on. Baselines are always fitted on train."""
    batch_size: int = 16
    """Unrolls at a time."""
    carry_state: bool = True
    """Carry memory over whole games, as play does; otherwise each unroll starts with empty memory,
    as it does where a dataset's chunks do not overlap."""
    compare_resets: bool = option(True, only_with={"carry_state": True})
    """Also measure with memory emptied at every unroll, of the length and burn-in that the policy
    was trained with; not with --limit-frames, as other frames would come first."""
    unroll_frames: int = 512
    """Frames that the policy reads in one go; at most a chunk, and where memory is carried at most
    what the dataset's overlap holds."""
    burn_in: int = option(60, only_with={"carry_state": False})
    """Frames that only warm up the memory of an unroll, except at a game's start; at most what the
    dataset's overlap holds."""
    frame_delay: tuple[int, ...] = ()
    """Frames between a state and the input that answers it; none means what the policy was made
    for. Of several, the report is about the first, and tells nats at the others."""
    player_style: str | None = None
    """Predict everybody in the style of this player: connect code, netplay name, tag or pseudonym;
    none means each player's own, if the policy knows it."""
    desired_return: float | None = None
    """Ask for this return of the coming second, in percent: dealt minus taken, a stock being 100;
    none asks for nothing in particular."""
    by_return: bool = False
    """Also measure what the policy is predicted to gain at each level of the desired return."""
    limit_frames: int = 0
    """Stop after about so many frames; 0 measures all."""
    own_action_frames: int = 100_000
    """Frames on which the policy is fed its own actions, to see whether it gets stuck; 0 leaves
    that out."""
    baseline_frames: int = 2_000_000
    """Frames of the train split on which baselines are fitted; 0 takes all."""
    jit: bool = True
    """Compile with XLA: slower to start, faster from then on."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name, low in (
            ("batch_size", 1),
            ("unroll_frames", 1),
            ("burn_in", 0),
            ("limit_frames", 0),
            ("own_action_frames", 0),
            ("baseline_frames", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")
