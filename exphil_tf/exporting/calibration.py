"""Post-training quantization: a float policy's weights, with activation ranges seen on games."""

from pathlib import Path

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, requantized
from exphil_tf.evaluation.episodes import GameBatch, batch_games, dataset_perspectives
from exphil_tf.evaluation.parity import STEPS
from exphil_tf.evaluation.policy_runners import KerasRunner
from models.layers.quantized import calibrating
from models.policy import Policy
from models.policy_config import QuantizationConfig


def calibration_games(folder: Path, info: PolicyInfo, *, frames: int) -> GameBatch:
    """Games of a dataset's train split.

    Raises: UserError: if the dataset is missing, damaged or has no such games.
    """
    perspectives = dataset_perspectives(folder, "train")
    codec, delay = info.config.head.codec, info.delay.frames
    return batch_games(perspectives, codec, delay=delay, max_frames=frames, multiple=STEPS)


def calibrated(policy: Policy, games: GameBatch) -> Policy:
    """Returns a quantized copy of a float policy whose ranges hold every activation of some games.

    Args:
      policy: trained without --qat.
      games: games to observe, laid out in multiples of `STEPS`.
    """
    copy = requantized(policy, QuantizationConfig(qat=True, qat_activations="moving_average"))
    with calibrating(copy):
        for _ in KerasRunner(copy).run(games, steps=STEPS):
            pass
    return copy
