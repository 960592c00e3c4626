"""Parity of an export: the shipped graph beside the networks that it was made from."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exphil_tf.checkpoints.policy_bundle import PolicyInfo, requantized
from exphil_tf.evaluation.episodes import GameBatch, batch_games, dataset_perspectives, long_game
from exphil_tf.evaluation.parity import DRIFT_FRAMES, STEPS, Form, run_parity
from exphil_tf.evaluation.parity_report import ParityReport
from exphil_tf.evaluation.policy_runners import KerasRunner, OnnxRunner
from exphil_tf.exporting.convert import lower_policy
from exphil_tf.inference.bundle import Bundle
from models.policy import Policy
from models.policy_config import QuantizationConfig


@dataclass(frozen=True)
class ParityGames:
    """What an export is checked on."""

    whole: GameBatch
    long: GameBatch


def load_games(folder: Path, info: PolicyInfo, *, split: str, frames: int) -> ParityGames:
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
      games: see `load_games`.
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
        OnnxRunner(bundle, codec), reference=source, demand=_DEMANDS.get(precision, "none")
    )
    return run_parity(forms, games.whole, codec=codec, long=games.long)


_DEMANDS: dict[str, Literal["exact", "quantized"]] = {"float32": "exact", "int8-qat": "quantized"}


def _float_copy(plain: Policy, bundle: Bundle) -> Bundle:
    """The float32 graph beside an export, with its configuration."""
    lowered = lower_policy(plain, "float32", batch_size=bundle.config.batch_size)
    return dataclasses.replace(bundle, model=lowered.model.SerializeToString())
