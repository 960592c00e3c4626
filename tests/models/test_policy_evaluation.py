"""What reinforcement learning asks of a policy: likelihoods of actions taken, and clean resets."""

import itertools
from typing import Any

import keras
import numpy as np
import policy_inputs
import pytest
import tensorflow as tf
from any_backbone import any_backbone, each, wake

from exphil_tf.features.controller import COMPONENTS
from models.backbones import BACKBONES
from models.heads import distribution
from models.policy import ActionEvaluation, Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

BATCH, TIME, WARM = 3, 6, 3
HEADS = ("autoregressive", "independent")
RESETS = ((0, 2), (1, 0), (1, 4), (2, 5))
"""(row, frame): in the middle, at the first and at the last frame."""
TEMPERATURE = tf.constant([0.7, 1.0, 1.6])


def make(backbone: str, head: str, seed: int = 1) -> Policy:
    sizes = any_backbone(
        backbone,
        hidden=(16,),
        num_layers=1,
        state_size=4,
        num_heads=2,
        window_size=4,
    )
    head_config = HeadConfig(head=head, head_hidden=8, axis_buckets=5, shoulder_buckets=3)
    return wake(Policy(PolicyConfig(EmbeddingConfig(action_dim=8), sizes, head_config), seed=seed))


def frame(nest, t):
    return keras.tree.map_structure(lambda x: x[:, t], nest)


def stacked(frames) -> Any:
    return keras.tree.map_structure(lambda *x: tf.stack(x, axis=1), *frames)


def rollout_inputs(num_frames: int, seed: int = 0):
    """Columns and resets of `num_frames`; resets of `RESETS` lie in the last `TIME` of them."""
    columns = policy_inputs.columns(BATCH, num_frames, seed=seed)
    is_resetting = np.zeros((BATCH, num_frames), bool)
    for row, t in RESETS:
        is_resetting[row, num_frames - TIME + t] = True
    return keras.tree.map_structure(tf.constant, columns), tf.constant(is_resetting)


def unroll_inputs(policy: Policy, seed: int = 0) -> dict:
    columns, is_resetting = rollout_inputs(TIME, seed)
    arrays = policy_inputs.prev_action(BATCH, TIME, seed=seed)
    actions = policy_inputs.targets(policy.config.head.codec, BATCH, TIME, seed=seed)
    return {
        "columns": columns,
        "prev_action": keras.tree.map_structure(tf.constant, arrays),
        "actions": keras.tree.map_structure(tf.constant, actions),
        "is_resetting": is_resetting,
    }


def evaluate(policy: Policy, inputs: dict, **options) -> ActionEvaluation:
    return policy.evaluate_actions(
        inputs["columns"],
        inputs["prev_action"],
        inputs["actions"],
        state=policy.initial_state(BATCH),
        is_resetting=inputs["is_resetting"],
        **options,
    )


ALWAYS = {("mlp", "independent"), ("lstm", "autoregressive")}
"""With memory and without, and both heads; the other pairs are slow."""


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        pytest.param(*pair, marks=() if pair in ALWAYS else pytest.mark.slow)
        for pair in itertools.product(BACKBONES, HEADS)
    ],
)
def test_ratio_of_a_policy_with_itself_is_1(backbone, head):
    """Played frame by frame and evaluated as an unroll, both compiled, with resets inside."""
    policy = make(backbone, head)
    codec = policy.config.head.codec

    @tf.function(jit_compile=True, autograph=False)
    def play(columns, prev_action, state, is_resetting, uniforms):
        step = policy.step(
            columns,
            prev_action,
            state,
            is_resetting=is_resetting,
            uniforms=uniforms,
            temperature=TEMPERATURE,
        )
        likelihood = distribution.evaluate(
            step.logits, step.buckets, temperature=TEMPERATURE[:, None]
        )
        sampled = likelihood.log_prob, likelihood.entropy
        return step, sampled, codec.decode(step.buckets, keras.ops)

    @tf.function(jit_compile=True, autograph=False)
    def learn(columns, prev_action, actions, state, is_resetting, reference):
        return policy.evaluate_actions(
            columns,
            prev_action,
            actions,
            state=state,
            is_resetting=is_resetting,
            temperature=TEMPERATURE,
            reference=reference,
        )

    columns, is_resetting = rollout_inputs(WARM + TIME)
    rng = np.random.default_rng(0)
    state = policy.initial_state(BATCH)
    action = frame(policy_inputs.prev_action(BATCH, 1), 0)
    states, previous, played = [], [], []
    for t in range(WARM + TIME):
        states.append(state)
        previous.append(action)
        uniforms = rng.random((BATCH, policy.num_uniforms), np.float32)
        played.append(
            play(frame(columns, t), action, state, is_resetting[:, t], tf.constant(uniforms))
        )
        state, action = played[-1][0].state, played[-1][2]
    steps = stacked([step for step, _, _ in played[WARM:]])
    log_prob, entropy = (stacked([sampled[i] for _, sampled, _ in played[WARM:]]) for i in (0, 1))
    found = learn(
        {name: column[:, WARM:] for name, column in columns.items()},
        stacked(previous[WARM:]),
        steps.buckets,
        states[WARM],
        is_resetting[:, WARM:],
        steps.logits,
    )
    for name in COMPONENTS:
        log_ratio = found.likelihood.log_prob.components[name]
        log_ratio -= log_prob.components[name]
        np.testing.assert_allclose(np.exp(log_ratio), 1, atol=1e-5)
    ratio = np.exp(found.likelihood.log_prob.total - log_prob.total)
    assert ratio.shape == (BATCH, TIME)
    np.testing.assert_allclose(ratio, 1, atol=1e-5)
    np.testing.assert_allclose(found.likelihood.entropy.total, entropy.total, rtol=1e-5)
    for divergence in (found.likelihood.kl_to, found.likelihood.kl_from):
        np.testing.assert_allclose(divergence.total, 0, atol=1e-5)
    for one, other in zip(tf.nest.flatten(found.state), tf.nest.flatten(state), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_evaluation_is_the_distribution_of_the_unroll(head):
    policy, other = make("lstm", head, seed=1), make("lstm", head, seed=2)
    inputs = unroll_inputs(policy)
    reference = evaluate(other, inputs).logits
    found = evaluate(policy, inputs, temperature=tf.constant(2.0), reference=reference)
    logits, state = policy.unroll(
        inputs["columns"],
        inputs["prev_action"],
        inputs["actions"],
        state=policy.initial_state(BATCH),
        is_resetting=inputs["is_resetting"],
    )
    halved, theirs = ({n: v / 2 for n, v in x.items()} for x in (logits, reference))
    likelihood = found.likelihood
    nll, entropy = distribution.nll(halved, inputs["actions"]), distribution.entropy(halved)
    kl_to, kl_from = distribution.kl(halved, theirs), distribution.kl(theirs, halved)
    for name in COMPONENTS:
        np.testing.assert_array_equal(found.logits[name], logits[name])
        wanted = (-nll[name], entropy[name], kl_to[name], kl_from[name])
        for nats, want in zip(likelihood, wanted, strict=True):
            assert nats.components[name].shape == (BATCH, TIME)
            np.testing.assert_allclose(nats.components[name], want, rtol=1e-5, atol=1e-6)
    for nats in likelihood:
        total = sum(np.asarray(nats.components[name], np.float64) for name in COMPONENTS)
        np.testing.assert_allclose(nats.total, total, rtol=1e-5)
    assert (np.asarray(likelihood.kl_to.total) > 1e-4).all()
    assert np.abs(likelihood.kl_to.total - likelihood.kl_from.total).max() > 1e-6
    assert found.hidden.shape == (BATCH, TIME, 16 + 13)
    tf.nest.map_structure(np.testing.assert_array_equal, found.state, state)
    alone = evaluate(policy, inputs).likelihood
    assert alone.kl_to is alone.kl_from is None


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        pytest.param(b, h, marks=[] if (b, h) == ("mlp", HEADS[0]) else pytest.mark.slow)
        for b in BACKBONES
        for h in HEADS
    ],
)
def test_gradients_of_every_term_reach_every_weight_under_xla(backbone, head):
    policy = make(backbone, head)
    inputs = unroll_inputs(policy)
    reference = {n: tf.zeros_like(v) for n, v in evaluate(policy, inputs).logits.items()}
    variables = [v.value for v in policy.trainable_variables]

    @tf.function(jit_compile=True, autograph=False)
    def gradients(inputs):
        with tf.GradientTape(persistent=True) as tape:
            terms = evaluate(policy, inputs, reference=reference, training=True).likelihood
            sums = [tf.reduce_sum(nats.total) for nats in terms]
        return [tape.gradient(total, variables) for total in sums]

    for term, found in zip(distribution.ActionLikelihood._fields, gradients(inputs), strict=True):
        for variable, gradient in zip(policy.trainable_variables, found, strict=True):
            assert np.isfinite(gradient).all(), (term, variable.path)
            assert np.abs(gradient).max() > 0, (term, variable.path)


@pytest.mark.parametrize("backbone", each())
def test_what_the_caller_says_of_the_action_before_a_game_changes_nothing(backbone):
    policy = make(backbone, "autoregressive")
    inputs = unroll_inputs(policy)
    resets = inputs["is_resetting"]

    def garbage(value, fill):
        mask = tf.reshape(resets, (BATCH, TIME, *[1] * (len(value.shape) - 2)))
        return tf.where(mask, fill, value)

    def outputs(prev_action):
        changed = inputs | {"prev_action": prev_action}
        found = evaluate(policy, changed)
        called = policy(changed | {"targets": inputs["actions"]})
        state, steps = policy.initial_state(BATCH), []
        for t in range(TIME):
            columns, action = frame(inputs["columns"], t), frame(prev_action, t)
            given = {
                "is_resetting": resets[:, t],
                "uniforms": tf.fill((BATCH, policy.num_uniforms), 0.4),
                "temperature": tf.constant(1.0),
            }
            joined = policy.embedding.inputs.join(columns, keras.ops)
            controller = policy.embedding.join_controller(action)
            steps.append(policy.step_joined(*joined, controller, state, **given))
            steps.append(policy.step(columns, action, state, **given))
            state = steps[-1].state
        return tf.nest.flatten((found.hidden, found.logits, found.state, called, steps))

    given = inputs["prev_action"]
    want = outputs({name: garbage(value, 0.0) for name, value in given.items()})
    for fill in (7.5, np.nan):
        got = outputs({name: garbage(value, fill) for name, value in given.items()})
        for one, other in zip(want, got, strict=True):
            np.testing.assert_array_equal(one, other)
    # Where no game begins, the action before is read.
    pressed = evaluate(policy, inputs | {"prev_action": given | {"buttons": 1 - given["buttons"]}})
    assert np.abs(pressed.hidden - want[0]).max() > 1e-4
