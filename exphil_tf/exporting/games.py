"""What an export plays games for: ranges of its activations, and parity.

*Calibration*: a policy that was trained in float gets ranges from games of the train split.
*Parity*: the shipped graph plays held-out games beside the networks that it was made from.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, requantized
from exphil_tf.evaluation.episodes import GameBatch, batch_games, dataset_perspectives, long_game
from exphil_tf.evaluation.parity import DRIFT_FRAMES, STEPS, Form, run_parity
from exphil_tf.evaluation.parity_report import ParityReport
from exphil_tf.evaluation.policy_runners import KerasRunner, OnnxRunner
from exphil_tf.exporting.convert import convert_policy
from exphil_tf.exporting.precisions import PARITY_DEMANDS
from exphil_tf.inference.bundle import Bundle
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


@dataclass(frozen=True)
class ParityGames:
    """What an export is checked on."""

    whole: GameBatch
    long: GameBatch


def parity_games(folder: Path, info: PolicyInfo, *, split: str, frames: int) -> ParityGames:
    """Held-out games for `check_parity`: whole ones, and a long one made of them.

    Raises: UserError: if the dataset is missing, damaged or has no such games.
    """
    codec, delay = info.config.head.codec, info.delay.frames
    perspectives = []
    for perspective in dataset_perspectives(folder, split):
        perspectives.append(perspective)
        if sum(len(perspective.actions) for perspective in perspectives) >= max(frames, 1):
            break
    whole = batch_games(perspectives, codec, delay=delay, max_frames=frames, multiple=STEPS)
    return ParityGames(whole, long_game(perspectives, codec, frames=DRIFT_FRAMES, delay=delay))


def check_parity(
    policy: Policy, bundle: Bundle, games: ParityGames, *, network: Policy
) -> ParityReport:
    """Plays the float network, its quantized form and their graphs side by side.

    Args:
      policy: the trained one.
      bundle: the export; a float32 graph is made besides, unless it is one.
      games: see `parity_games`.
      network: what the export was traced from.
    """
    codec, precision = policy.config.head.codec, bundle.config.precision
    trained = policy.config.quantization.qat
    plain = requantized(policy, QuantizationConfig()) if trained else policy
    forms = {"keras float": Form(KerasRunner(plain))}
    if precision != "float32":
        exact = _float_copy(plain, bundle)
        runner = OnnxRunner(exact, codec)
        forms["onnx float32"] = Form(runner, reference="keras float", demand="exact")
    source = "keras float"
    if network.config.quantization.qat:
        source = "keras qat" if trained else "keras static"
        forms[source] = Form(KerasRunner(network), reference="keras float")
    forms[f"onnx {precision}"] = Form(
        OnnxRunner(bundle, codec), reference=source, demand=PARITY_DEMANDS.get(precision, "none")
    )
    return run_parity(forms, games.whole, codec=codec, long=games.long)


def _float_copy(plain: Policy, bundle: Bundle) -> Bundle:
    """The float32 graph beside an export, with its configuration."""
    converted = convert_policy(plain, "float32", batch_size=bundle.config.batch_size)
    return dataclasses.replace(bundle, model=converted.model.SerializeToString())
