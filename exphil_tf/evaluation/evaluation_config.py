"""How a policy is measured; free of TensorFlow."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from exphil_tf.foundation.kinds import Kind

Split = Literal["validation", "test", "train"]


@dataclass(frozen=True)
class EvaluationConfig:
    """On which frames a policy is measured, and how it reads them."""

    KIND: ClassVar = Kind.RESULT

    split: Split = "validation"
    """Games to measure on. Baselines are always fitted on train."""
    batch_size: int = 16
    """Unrolls at a time."""
    unroll_frames: int = 512
    """Frames that the policy reads in one go, its memory carried along; at most a chunk."""
    burn_in: int = 60
    """Frames that only warm up the memory of an unroll, except at a game's start; at most what the
    dataset's overlap holds."""
    frame_delay: int | None = None
    """Frames between a state and the input that answers it; none means what the policy was made
    for."""
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
