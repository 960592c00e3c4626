"""A new run's first weights: what the training games say of the previous action."""

import itertools

import numpy as np
import pytest

from exphil_tf.checkpoints.policy_bundle import load_policy
from exphil_tf.data import input as data_input
from exphil_tf.data.epoch_size import EpochSize, epoch_size
from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation.options import options
from exphil_tf.training.markov_start import FRAMES, num_batches, transition_rates_of
from exphil_tf.training.option_kinds import differing_options
from exphil_tf.training.run_options import saved_options
from exphil_tf.training.train_config import TrainConfig

STILL = ("--max-steps", "1", "--lr", "1e-12", "--weight-decay", "0")


@pytest.fixture(scope="module")
def still(trainer, tmp_path_factory):
    """The folder of a run whose one update changes next to nothing."""
    folder = tmp_path_factory.mktemp("still")
    assert trainer(folder, *STILL).status == 0
    return folder


def test_a_run_starts_from_its_training_games(still, dataset):
    policy, _ = load_policy(still / "runs/run/policy")
    head = policy.head
    given = {"batch_size": 4, "seed": 7, "training": True, "split": "train"}
    config = InputConfig(window_size=30, augment=True, block_records=4)
    size = epoch_size(dataset, config, **given)
    batches = data_input.build(dataset, config, **given)
    rates = transition_rates_of(itertools.islice(batches, num_batches(size)), head.config.codec)
    skip, bias = np.asarray(head.skip_kernel), np.asarray(head.output_bias)
    for name in COMPONENTS[1:]:
        span = head.spans[name]
        np.testing.assert_allclose(skip[span, span], np.log(rates[name]), atol=1e-5)
    odds = np.log(rates["buttons"][..., 1] / rates["buttons"][..., 0])
    np.testing.assert_allclose(bias[:8], odds[:, 0], atol=1e-5)
    np.testing.assert_allclose(bias[:8] + np.diag(skip)[:8], odds[:, 1], atol=1e-5)
    np.testing.assert_allclose(head.output_kernel, 0, atol=1e-6)


@pytest.mark.slow
def test_a_run_starts_from_another_as_that_ended(still, trainer, dataset):
    """Games of one seed don't tell what another run counted: its weights are kept."""
    policy, _ = load_policy(still / "runs/run/policy")
    more = ("--name", "more", "--init-from", "runs/run", "--seed", "8", "--data", str(dataset))
    assert trainer.command(still, *more, *STILL, "--no-jit").status == 0
    tuned, _ = load_policy(still / "runs/more/policy")
    for one, other in zip(policy.weights, tuned.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_no_frame_is_counted_twice_and_no_more_than_are_needed():
    assert num_batches(EpochSize(unrolls=10, labelled_frames=500, steps=3)) == 3
    assert num_batches(EpochSize(unrolls=10**6, labelled_frames=10 * FRAMES, steps=5000)) == 500


def test_a_run_from_before_the_skip_goes_on_without_it(tmp_path):
    (tmp_path / "config.yaml").write_text("backbone: lstm\nhead: autoregressive\n")
    saved, foreign = saved_options(tmp_path, known=options(TrainConfig))
    assert foreign == []
    assert saved.values["prev_action_buckets"] is False
    name, before = "prev_action_buckets", {"backbone": "lstm", "with_prev_action": True}
    assert differing_options(before, before | {name: False}) == []
    assert differing_options(before, before | {name: True}) == [name]
    # Where it has no effect, its value tells nothing.
    blind = {"with_prev_action": False}
    assert differing_options(blind, blind | {name: True}) == []
