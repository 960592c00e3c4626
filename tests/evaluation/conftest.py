"""One evaluation of a made-up player and a made-up policy, for the report's tests."""

import json

import numpy as np
import pytest

from exphil_tf.evaluation.baselines import BaselineFit, neutral_buckets
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.evaluation.results import ActionChanges, Curve, Evaluation, OwnActions
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.melee.enums import Character
from tests.sample_dataset import make_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Games of 9 to 10 s: chunks shorter than the longest unroll, several of them per game."""
    sample = ("--games", "4", "--min-seconds", "9", "--max-seconds", "10")
    return make_dataset(tmp_path_factory.mktemp("evaluate"), sample, "--test-split", "0.25")


@pytest.fixture(scope="session")
def policies(tmp_path_factory):
    """Two runs, one of them at a delay, and the export of the first."""
    from exported_policies import export, make_policy  # imports TensorFlow

    from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo, save_policy
    from exphil_tf.exporting import publishing

    folder = tmp_path_factory.mktemp("policies")
    one, late = make_policy("lstm", seed=4), make_policy("mlp", seed=5)
    save_policy(folder / "one" / "policy", one, PolicyInfo(one.config))
    log = {"event": "validation", "step": 10, "nll_total": 9.2, "nll": {"buttons": 3.0}}
    (folder / "one" / "log.jsonl").write_text(json.dumps(log) + "\n")
    delay = Delay(frames=3, trained_min=3, trained_max=3)
    save_policy(folder / "late" / "policy", late, PolicyInfo(late.config, delay=delay))
    publishing.publish(export(one, folder=folder / "exported"), {"forms": {}})
    return folder


SIZES = ControllerCodec().sizes
FRAMES = 1500


def play(seed):
    """Buckets of a player who mostly holds what he held: targets and the frame before."""
    rng = np.random.default_rng(seed)
    held = {n: np.asarray(v) for n, v in neutral_buckets(SIZES).items()}
    rows = {name: [held[name]] for name in COMPONENTS}
    for _ in range(FRAMES):
        for name in COMPONENTS:
            if rng.random() > 0.85:
                held[name] = np.asarray(
                    rng.random(8) < 0.1 if name == "buttons" else rng.integers(0, SIZES[name])
                ).astype(int)
            rows[name].append(held[name])
    columns = {name: np.stack(values) for name, values in rows.items()}
    return {n: c[1:] for n, c in columns.items()}, {n: c[:-1] for n, c in columns.items()}


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    """A policy that knows more than the baselines on every head but C-stick x."""
    targets, previous = play(0)
    rng = np.random.default_rng(1)
    characters = rng.choice([Character.FOX, Character.MARTH], FRAMES)
    sample = Sample.of(targets, previous, weights=np.ones(FRAMES), characters=characters)
    fit = BaselineFit(SIZES)
    fit.add(sample)
    baselines = fit.baselines()
    logits = {n: np.array(v) for n, v in baselines["repeat"].logits_fn(sample).items()}
    for name in COMPONENTS[1:]:
        logits[name] += np.eye(SIZES[name])[targets[name]] * (-1.0 if name == "c_x" else 1.5)
    logits["buttons"] += (2 * targets["buttons"] - 1) * 2.0
    logits["buttons"][:, 4] = -4.0

    def score(scored, drawn=None):
        accumulator = Accumulator(SIZES)
        accumulator.add(scored, sample, drawn)
        return accumulator.result()

    provenance = {
        "run": "<b>mamba</b> & co",
        "measured_on": "made-up games",
        "weights_sha256": "ab" * 32,
        "frames": FRAMES,
    }
    curves = {
        "train": Curve([10, 20, 30], [9.0, 7.0, 6.5]),
        "validation": Curve([10, 20, 30], [9.5, 7.5, 8.5]),
    }
    scores = {name: score(baseline.logits_fn(sample)) for name, baseline in baselines.items()}
    own_actions = OwnActions(
        1000, 512, ActionChanges(1.23, 0.671, 0.551), ActionChanges(7.89, 0.101, 0.021)
    )
    return Evaluation(provenance, score(logits, previous), scores, curves, own_actions=own_actions)
