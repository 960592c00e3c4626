"""A policy and its baselines over a split: batches of bytes in, metrics out.

The policy reads long unrolls with its state carried along, as in play, each later component of an
action given the human's earlier ones. Logits leave the compiled graph once per batch; all figures
are then numpy, on exactly the same frames for policy and baselines.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from exphil_tf.evaluation.baselines import Baseline, BaselineFit
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.evaluation.results import PolicyMetrics
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.training.batches import policy_inputs, unroll
from models.policy import Policy

Batch = Mapping[str, Any]
"""What `exphil_tf.data.input.build` yields."""
PredictFn = Callable[[Batch], tuple[dict[str, np.ndarray], Sample]]


def predict_fn(policy: Policy, *, jit: bool = True) -> PredictFn:
    """Compiles a policy's unroll: a batch in, the logits of its counted frames and these out.

    Args:
      policy: the network; dropout is off.
      jit: compile with XLA.
    """
    codec = policy.config.head.codec

    @tf.function(jit_compile=jit, reduce_retracing=False)
    def forward(batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = policy_inputs(batch, codec)
        known = {
            "targets": inputs.targets,
            "previous": inputs.previous,
            "weights": inputs.weight,
            "characters": inputs.columns["p.character"][..., 0],
        }
        return unroll(policy, inputs, training=False), known

    def predict(batch: Batch) -> tuple[dict[str, np.ndarray], Sample]:
        logits, known = tf.nest.map_structure(lambda tensor: tensor.numpy(), forward(dict(batch)))
        sample = Sample.of(
            known["targets"],
            known["previous"],
            # Weights that balance characters are for training; here a frame counts or not.
            weights=known["weights"] > 0,
            characters=known["characters"],
        )
        return sample.pick(logits), sample

    return predict


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
    for logits, sample in _limited(map(predict, batches), max_frames, on_frames):
        policy.add(logits, sample)
        for name, baseline in baselines.items():
            scores[name].add(baseline.logits_fn(sample), sample)
    return policy.result(), {name: score.result() for name, score in scores.items()}


def _limited(
    predictions: Iterable[tuple[dict[str, np.ndarray], Sample]],
    max_frames: int,
    on_frames: Callable[[int], None],
) -> Iterator[tuple[dict[str, np.ndarray], Sample]]:
    frames = 0
    for logits, sample in predictions:
        yield logits, sample
        frames += len(sample)
        on_frames(frames)
        if max_frames and frames >= max_frames:
            return
