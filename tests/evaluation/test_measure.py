"""Measuring a network: the graph's figures are the losses' own, on the frames that count."""

import numpy as np
import pytest
import tensorflow as tf
from any_backbone import any_backbone

from exphil_tf.data import input as data_input
from exphil_tf.data.input_config import InputConfig
from exphil_tf.evaluation.measure import fit_baselines, measure, predict_fn
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.features.packing import CONTROLLER_FIELDS, action_order, pack
from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.features.transitions import transition_rates
from exphil_tf.melee.enums import Character
from exphil_tf.melee.types import Frames
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training import losses
from exphil_tf.training.markov_start import transition_rates_of
from models import policy_inputs as training_batches
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig
from tests.data.conftest import write_games

BATCH, TIME = 3, 16


def tiny_policy(head="autoregressive"):
    config = PolicyConfig(
        embedding=EmbeddingConfig(action_dim=4, character_dim=2),
        backbone=any_backbone("mlp", hidden=(8,), num_layers=1),
        head=HeadConfig(head=head, head_hidden=4),
    )
    return Policy(config, seed=3)


def make_batch(seed):
    rng = np.random.default_rng(seed)
    frames = SCHEMA.empty(BATCH * (TIME + 1))
    columns = {name: np.array(frames[name]) for name in frames}
    for name in ("c.main_x", "c.main_y", "c.c_x", "c.c_y"):
        columns[name] = (rng.integers(-80, 81, columns[name].shape) / 80).astype(np.float32)
    columns["c.buttons"] = rng.integers(0, 256, columns["c.buttons"].shape).astype(np.uint8)
    columns["c.shoulder"] = (rng.integers(0, 141, columns["c.shoulder"].shape) / 140).astype("f4")
    columns["p.x"] = rng.normal(size=columns["p.x"].shape).astype(np.float32) * 20
    columns["p.character"][:, 0] = Character.FOX
    columns["p.character"][: TIME + 1, 0] = Character.MARTH
    rows = pack(Frames(columns)).reshape(BATCH, TIME + 1, -1)
    weight = (rng.random((BATCH, TIME)) < 0.7).astype(np.float32) * 0.5
    return {
        "state": rows[:, :TIME],
        "actions": rows[:, :, action_order(0)],
        "weight": weight,
        "is_resetting": np.tile(np.arange(TIME) == 0, (BATCH, 1)),
        "name": np.zeros(BATCH, np.int32),
        "character": np.zeros(BATCH, np.int32),
        "delay": np.zeros(BATCH, np.int32),
    }


@pytest.fixture(scope="module", params=["autoregressive", "independent"])
def policy(request):
    return tiny_policy(request.param)


def test_figures_are_those_of_the_training_losses(policy):
    batches = [make_batch(0), make_batch(1)]
    codec = policy.config.head.codec
    baselines = fit_baselines(batches, codec).baselines()
    seen = []
    result, scores = measure(
        batches, predict_fn(policy, jit=False), baselines, codec=codec, on_frames=seen.append
    )
    sums, weight = dict.fromkeys(COMPONENTS, 0.0), 0
    for batch in batches:
        tensors = {name: tf.constant(values) for name, values in batch.items()}
        inputs = training_batches.policy_inputs(tensors, codec)
        logits = training_batches.unroll(policy, inputs, training=False)
        counted = batch["weight"] > 0
        weight += counted.sum()
        for name, nll in losses.nll(logits, inputs.targets).items():
            sums[name] += np.asarray(nll)[counted].sum()
    for name in COMPONENTS:
        assert result.components[name].nll == pytest.approx(sums[name] / weight, rel=1e-5)
    assert result.frames == weight
    assert seen[-1] == weight
    assert len(seen) == 2
    assert {score.frames for score in scores.values()} == {weight}
    by_name = {row.name: row.frames for row in result.characters}
    assert by_name["marth"] == sum((b["weight"][0] > 0).sum() for b in batches)


def test_compiled_and_not_compiled_agree():
    policy = tiny_policy()
    batch = make_batch(2)
    plain, drawn, sample = predict_fn(policy, jit=False)(batch)
    compiled, drawn_again, again = predict_fn(policy, jit=True)(batch)
    np.testing.assert_array_equal(sample.targets["main_x"], again.targets["main_x"])
    for name in COMPONENTS:
        np.testing.assert_allclose(plain[name], compiled[name], rtol=1e-4, atol=1e-5)
        assert np.mean(drawn[name] == drawn_again[name]) > 0.95


def test_targets_lie_one_frame_behind_the_previous_action():
    policy = tiny_policy()
    batch = make_batch(3) | {"weight": np.ones((BATCH, TIME), np.float32)}
    sample = predict_fn(policy, jit=False)(batch).sample
    codec = policy.config.head.codec
    for row in range(BATCH):
        buckets = codec.encode(batch["actions"][row])
        at = slice(row * TIME, (row + 1) * TIME)
        np.testing.assert_array_equal(sample.targets["c_y"][at], buckets["c_y"][1:])
        np.testing.assert_array_equal(sample.previous["buttons"][at], buckets["buttons"][:-1])


def test_drawn_actions_follow_the_distribution_and_the_seed():
    policy = tiny_policy()
    batch = make_batch(5)
    predict = predict_fn(policy, jit=False)
    many = [predict(batch) for _ in range(20)]
    # The first component depends on the state alone, so its probabilities are known.
    want = 1 / (1 + np.exp(-many[0].logits["buttons"]))
    rates = np.mean([prediction.drawn["buttons"] for prediction in many], axis=0)
    sigmas = (rates - want) / np.sqrt(want * (1 - want) / len(many))
    assert np.abs(sigmas).max() < 6
    assert np.abs(sigmas.mean()) < 0.2
    again = predict_fn(policy, jit=False)(batch)
    other = predict_fn(policy, jit=False, seed=1)(batch)
    for name in COMPONENTS:
        np.testing.assert_array_equal(again.drawn[name], many[0].drawn[name])
        np.testing.assert_array_equal(again.logits[name], other.logits[name])
    assert not np.array_equal(many[0].drawn["main_x"], many[1].drawn["main_x"])


def test_stick_histogram_is_that_of_the_drawn_actions():
    policy = tiny_policy()
    codec = policy.config.head.codec
    batches = [make_batch(6), make_batch(7)]
    baselines = fit_baselines(batches, codec).baselines()
    result, _ = measure(batches, predict_fn(policy, jit=False), baselines, codec=codec)
    predict = predict_fn(policy, jit=False)
    want = np.zeros((17, 17))
    for batch in batches:
        drawn = predict(batch).drawn
        for x, y in zip(drawn["c_x"], drawn["c_y"], strict=True):
            want[x, y] += 1
    np.testing.assert_allclose(result.sticks["c"].model, want / want.sum())


def test_baselines_are_fitted_on_what_counts():
    codec = tiny_policy().config.head.codec
    batch = make_batch(4)
    fit = fit_baselines([batch], codec)
    assert fit.frames == (batch["weight"] > 0).sum()
    pressed = codec.encode(batch["actions"][:, 1:])["buttons"][batch["weight"] > 0]
    rates = fit.baselines()["marginal"].rates["buttons"]
    assert rates == pytest.approx((pressed.sum(0) + 1) / (len(pressed) + 2))


@pytest.mark.parametrize("delay", [0, 5, 18])
def test_the_table_is_of_neighbouring_frames_of_one_game_at_any_delay(delay, tmp_path):
    """Counted by a loop over whole games: no pair across games, each frame that counts once."""
    games = write_games(tmp_path, (200, 110, 317), perspectives=[3, 2, 3])
    codec = tiny_policy().config.head.codec
    inputs = InputConfig(window_size=20, burn_in=4, frame_delay=delay)
    batches = data_input.build(
        load_manifest(tmp_path), inputs, folder=tmp_path, split="train", batch_size=2, seed=0,
        training=False,
    )  # fmt: skip
    pairs = np.zeros((17, 17))
    values = np.array([0, 23, 31, 39, 47, 56, 64, 72, 80])  # in 1/80, of the half right of neutral
    borders = (values[1:] + values[:-1]) / 2
    for game, frames in enumerate(games.frames):
        for player in (0, 1):
            if games.perspectives[game] >> player & 1:
                held = np.asarray(frames["c.main_x"])[:, player]
                steps = np.rint(held * 80)
                far = (np.abs(steps)[:, None] >= borders).sum(1)
                buckets = 8 + (np.sign(steps) * far).astype(int)
                first = max(84, delay + 1)  # "GO!", and the first frame that has a state to answer
                target = np.arange(first, len(buckets))
                spoiled = np.asarray(frames["absent"]) & SPOILED != 0
                target = target[~(spoiled[target] | spoiled[target - 1 - delay])]
                np.add.at(pairs, (buckets[target - 1], buckets[target]), 1)
    got = fit_baselines(batches, codec).baselines()["markov"].rates["main_x"]
    assert pairs.sum() > 500
    np.testing.assert_allclose(got, transition_rates(pairs))


def test_reading_stops_at_the_limit():
    policy = tiny_policy()
    codec = policy.config.head.codec
    batches = [make_batch(seed) for seed in range(5)]
    fit = fit_baselines(iter(batches), codec, max_frames=40)
    first_two = sum(int((b["weight"] > 0).sum()) for b in batches[:2])
    assert fit.frames == first_two >= 40
    predict = predict_fn(policy, jit=False)
    result, _ = measure(batches, predict, fit.baselines(), codec=codec, max_frames=1)
    assert result.frames == (batches[0]["weight"] > 0).sum()


def sticky_batch(seed):
    """Actions that a controller can be made to say, mostly held."""
    batch, rng = make_batch(seed), np.random.default_rng(seed)
    actions = batch["actions"]
    for player in range(BATCH):
        for frame in range(1, TIME + 1):
            held = rng.random(actions.shape[-1]) < 0.7
            actions[player, frame] = np.where(held, actions[player, frame - 1],
                                              actions[player, frame])  # fmt: skip
    names = [field.name for field in CONTROLLER_FIELDS]
    for x, y in (("c.main_x", "c.main_y"), ("c.c_x", "c.c_y")):
        # Readings that there are: nothing between 0 and 23 of 80, nor beyond the circle.
        scaled = actions[..., [names.index(x), names.index(y)]].view(np.int8).astype(float) * 0.7
        scaled[np.abs(scaled) < 23] = 0
        read = np.rint(scaled).astype(np.int8).view(np.uint8)
        actions[..., [names.index(x), names.index(y)]] = read
    return batch


@pytest.mark.parametrize("head", ["autoregressive", "independent"])
def test_a_new_policy_costs_what_the_markov_baseline_costs(head):
    """The head's start and the baseline go different ways from the same counts."""
    policy = tiny_policy(head)
    codec = policy.config.head.codec
    train, held_out = [sticky_batch(20), sticky_batch(21)], [sticky_batch(22)]
    policy.head.start_at(transition_rates_of(train, codec))
    baselines = fit_baselines(train, codec).baselines()
    result, scores = measure(held_out, predict_fn(policy, jit=False), baselines, codec=codec)
    for name in COMPONENTS:
        want = scores["markov"].components[name].nll
        assert result.components[name].nll == pytest.approx(want, rel=1e-5), name
    assert result.nll < scores["marginal"].nll
