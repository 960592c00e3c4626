"""A policy and its baselines over a split: batches of bytes in, metrics out.

The policy reads games with its state carried along, as in play, each later component of an action
given the human's earlier ones. Logits leave the compiled graph once per batch; all figures
are then numpy, on exactly the same frames for policy and baselines.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from exphil_tf.evaluation.baselines import Baseline, BaselineFit
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.evaluation.results import PolicyMetrics
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.training import imitation_metrics
from models.carried_state import CarriedState
from models.policy import Policy
from models.policy_inputs import Batch, policy_inputs, unroll, unroll_hidden


class Prediction(NamedTuple):
    """A policy's answer to a batch, on the frames that count."""

    logits: dict[str, np.ndarray]
    """`[frames, buckets]` per component, given the human's earlier components."""
    drawn: dict[str, np.ndarray]
    """Buckets of one action per frame, drawn as play draws them."""
    sample: Sample
    """The frames themselves."""


PredictFn = Callable[[Batch], Prediction]


def predict_fn(
    policy: Policy, *, carried: CarriedState | None = None, jit: bool = True, seed: int = 0
) -> PredictFn:
    """Compiles a policy's unroll for one batch after another.

    Args:
      policy: the network; dropout is off.
      carried: where memory is kept between batches whose rows go on; None for batches of unrolls
        that start from the initial state.
      jit: compile with XLA.
      seed: decides the drawn actions; no other figure depends on it.
    """
    codec = policy.config.head.codec
    rng = np.random.default_rng(seed)

    # Without autograph, which would read the sources again while tracing; nothing here needs it.
    @tf.function(jit_compile=jit, autograph=False, reduce_retracing=False)
    def forward(batch: dict[str, Any], uniforms: Any) -> dict[str, Any]:
        inputs = policy_inputs(batch, codec, is_carried=carried is not None)
        before = None if carried is None else carried.read()
        hidden, after = unroll_hidden(policy, inputs, training=False, state=before)
        if carried is not None:
            carried.write(after)
        drawn, _ = policy.head.step(
            tf.reshape(hidden, (-1, hidden.shape[-1])), uniforms, tf.constant(1.0)
        )
        shape = inputs.weight.shape
        return {
            "logits": policy.head.unroll(hidden, inputs.targets),
            "drawn": {n: tf.reshape(v, (*shape, *v.shape[1:])) for n, v in drawn.items()},
            "targets": inputs.targets,
            "previous": inputs.previous,
            "weights": inputs.weight,
            "characters": inputs.columns["p.character"],
            "stages": inputs.columns["s.stage"],
        }

    def predict(batch: Batch) -> Prediction:
        num_frames = int(np.prod(batch["weight"].shape))
        uniforms = rng.random((num_frames, policy.num_uniforms), np.float32)
        found = tf.nest.map_structure(lambda x: x.numpy(), forward(dict(batch), uniforms))
        sample = Sample.of(
            found["targets"],
            found["previous"],
            # Weights that balance characters are for training; here a frame counts or not.
            weights=found["weights"] > 0,
            characters=found["characters"][..., 0],
            opponents=found["characters"][..., 1],
            stages=found["stages"],
        )
        return Prediction(sample.pick(found["logits"]), sample.pick(found["drawn"]), sample)

    return predict


def told(batches: Iterable[Batch], ids: Mapping[str, int]) -> Iterator[Batch]:
    """The same batches, but for conditions that are told alike of every game."""
    for batch in batches:
        shape = batch["weight"].shape[:1]
        yield {**batch, **{name: tf.fill(shape, number) for name, number in ids.items()}}


def mean_nll(policy: Policy, batches: Iterable[Batch], *, jit: bool = True) -> dict[str, float]:
    """Nats per frame by component, each unroll from the initial state.

    Args:
      policy: the network; dropout is off.
      batches: of unrolls by themselves.
      jit: compile with XLA.
    """
    codec = policy.config.head.codec

    @tf.function(jit_compile=jit, autograph=False, reduce_retracing=False)
    def sums(batch: dict[str, Any]) -> Any:
        inputs = policy_inputs(batch, codec)
        logits = unroll(policy, inputs, training=False)
        counted = tf.cast(inputs.weight > 0, tf.float32)
        return imitation_metrics.batch_sums(logits, inputs.targets, loss=counted, weight=counted)

    total: dict[str, Any] = {}
    for batch in batches:
        for name, value in sums(dict(batch)).items():
            total[name] = total.get(name, 0.0) + value.numpy().astype(np.float64)
    return imitation_metrics.means(total)["nll"]


def fit_baselines(
    batches: Iterable[Batch], codec: ControllerCodec, *, max_frames: int = 0
) -> BaselineFit:
    """Counts the actions of the train split.

    Args:
      batches: of the train split.
      codec: the policy's buckets.
      max_frames: stop after the batch that reaches it; 0 reads all.
    """
    fit = BaselineFit(codec.sizes)
    for batch in batches:
        buckets = codec.encode(np.asarray(batch["actions"]))
        weights = np.asarray(batch["weight"]) > 0
        sample = Sample.of(
            {name: values[:, 1:] for name, values in buckets.items()},
            {name: values[:, :-1] for name, values in buckets.items()},
            weights=weights,
            characters=np.zeros(weights.shape, int),
        )
        fit.add(sample)
        if max_frames and fit.frames >= max_frames:
            break
    return fit


def measure(
    batches: Iterable[Batch],
    predict: PredictFn,
    baselines: Mapping[str, Baseline],
    *,
    codec: ControllerCodec,
    max_frames: int = 0,
    on_frames: Callable[[int], None] = lambda _: None,
) -> tuple[PolicyMetrics, dict[str, PolicyMetrics]]:
    """Scores a policy and baselines on the same frames.

    Args:
      batches: of the split to measure.
      predict: from `predict_fn`.
      baselines: fitted, by name.
      codec: the policy's buckets.
      max_frames: stop after the batch that reaches it; 0 reads all.
      on_frames: told the frames counted so far, once per batch.

    Returns: the policy's metrics and each baseline's, by name.

    Raises:
      ValueError: if no frame was counted, or a logit is NaN or infinite.
    """
    policy = Accumulator(codec.sizes)
    scores = {name: Accumulator(codec.sizes) for name in baselines}
    for logits, drawn, sample in _limited(map(predict, batches), max_frames, on_frames):
        policy.add(logits, sample, drawn)
        for name, baseline in baselines.items():
            scores[name].add(baseline.logits_fn(sample), sample)
    return policy.result(), {name: score.result() for name, score in scores.items()}


def _limited(
    predictions: Iterable[Prediction], max_frames: int, on_frames: Callable[[int], None]
) -> Iterator[Prediction]:
    frames = 0
    for prediction in predictions:
        yield prediction
        frames += len(prediction.sample)
        on_frames(frames)
        if max_frames and frames >= max_frames:
            return
