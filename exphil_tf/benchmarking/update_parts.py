"""What the parts of an update cost, each compiled and timed alone, forward and backward."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from exphil_tf.training import imitation_metrics, losses
from exphil_tf.training.imitation import ImitationLearner
from models.layers.backend import ops
from models.policy_inputs import Batch, policy_inputs


def update_parts(learner: ImitationLearner, batch: Batch) -> dict[str, Callable[[], Any]]:
    """Returns each part's work, which waits for its result. They change the policy's weights.

    Together they are an update, but for what a compiler saves by seeing all of them at once.
    """
    policy, updater = learner.policy, learner.updater
    codec = policy.config.head.codec
    inputs = policy_inputs(batch, codec)
    previous = inputs.prev_action if policy.config.embedding.with_prev_action else None
    state = policy.backbone.initial_state(inputs.weight.shape[0])
    controller = policy.embedding.join_controller(previous)

    def embed() -> Any:
        return policy.embed(*policy.embedding.inputs.join(inputs.columns, ops), controller)

    embedded = embed()
    hidden = tf.random.stateless_normal(
        (*inputs.weight.shape, policy.backbone.width), (0, 0), dtype=embedded.dtype
    )
    if controller is not None:
        hidden = tf.concat([hidden, tf.cast(controller, hidden.dtype)], axis=-1)

    def unroll(x: Any) -> Any:
        return policy.backbone.unroll(x, state, inputs.is_resetting, training=True)[0]

    def score(hidden: Any) -> Any:
        logits = policy.head.unroll(hidden, inputs.targets)
        loss = losses.optimised(
            logits,
            inputs.targets,
            config=learner.options.loss,
            pos_weight=learner.options.pos_weight,
        )
        sums = imitation_metrics.batch_sums(logits, inputs.targets, loss=loss, weight=inputs.weight)
        return sums["loss"], sums

    def change(*gradients: Any) -> Any:
        one = tf.ones([])
        return updater.update(gradients, loss=one, weight=one).grad_norm

    gradients = [tf.zeros(v.shape) + 1e-3 for v in updater.variables]
    return {
        "unpack": _compiled(
            lambda *values: policy_inputs(_named(batch, values), codec), *batch.values()
        ),
        "embedding": _pass(embed, policy.embedding, []),
        "backbone": _pass(unroll, policy.backbone, [embedded]),
        "head and loss": _pass(score, policy.head, [hidden]),
        "optimizer": _compiled(change, *gradients),
    }


def _named(batch: Batch, values: tuple[Any, ...]) -> Batch:
    return dict(zip(batch, values, strict=True))


def _compiled(function: Callable[..., Any], *inputs: Any) -> Callable[[], Any]:
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return lambda: [x.numpy() for x in tf.nest.flatten(compiled(*inputs))[:1]]


def _pass(
    function: Callable[..., Any], layer: keras.layers.Layer, inputs: list[Any]
) -> Callable[[], Any]:
    """Forward and backward pass to the layer's weights and its inputs."""
    weights = [v.value for v in layer.trainable_variables]

    def gradients(*inputs: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*weights, *inputs])
            first, *rest = tf.nest.flatten(function(*inputs))
            loss = first if first.shape == () else tf.reduce_sum(first * first)
        return loss, rest, tape.gradient(loss, [*weights, *inputs])

    return _compiled(gradients, *inputs)
