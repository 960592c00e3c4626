"""Baselines against brute force: every ε tried, every frame counted by a loop."""

import math

import numpy as np
import pytest

from exphil_tf.evaluation.baselines import NAMES, BaselineFit, neutral_buckets
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.features.controller import COMPONENTS, NEUTRAL_VALUES, ControllerCodec, to_bytes

CODEC = ControllerCodec(axis_buckets=5, shoulder_buckets=3)
SIZES = CODEC.sizes


def play(seed, frames, stickiness=0.8):
    """Buckets of a player who mostly holds what he held, as `[frames]` targets and previous."""
    rng = np.random.default_rng(seed)
    held = {n: np.asarray(v) for n, v in neutral_buckets(SIZES).items()}
    rows = {name: [held[name]] for name in COMPONENTS}
    for _ in range(frames):
        for name in COMPONENTS:
            if rng.random() > stickiness:
                held[name] = (
                    (rng.random(8) < 0.2).astype(int)
                    if name == "buttons"
                    else np.asarray(rng.integers(0, SIZES[name]))
                )
            rows[name].append(held[name])
    columns = {name: np.stack(values) for name, values in rows.items()}
    return {n: c[1:] for n, c in columns.items()}, {n: c[:-1] for n, c in columns.items()}


def sample_of(seed, frames):
    targets, previous = play(seed, frames)
    return Sample.of(targets, previous, weights=np.ones(frames), characters=np.ones(frames, int))


@pytest.fixture(scope="module")
def train():
    return sample_of(1, 2000)


@pytest.fixture(scope="module")
def baselines(train):
    fit = BaselineFit(SIZES)
    # In two parts: what is fitted must not depend on the batches.
    for part in (slice(0, 300), slice(300, None)):
        fit.add(Sample.of(
            {n: v[part] for n, v in train.targets.items()},
            {n: v[part] for n, v in train.previous.items()},
            weights=train.weights[part], characters=train.characters[part]))  # fmt: skip
    assert fit.frames == 2000
    return fit.baselines()


def score(baseline, sample):
    accumulator = Accumulator(SIZES)
    accumulator.add(baseline.logits_fn(sample), sample)
    return accumulator.result()


def test_the_neutral_action_is_the_untouched_controller():
    encoded = CODEC.encode(to_bytes(NEUTRAL_VALUES))
    for name, bucket in neutral_buckets(SIZES).items():
        np.testing.assert_array_equal(bucket, encoded[name])


def hits(name, head, sample):
    """Per frame whether the baseline names the human's bucket (`[8]` for buttons), by a loop."""
    neutral, found = neutral_buckets(SIZES)[head], []
    for frame, target in enumerate(sample.targets[head]):
        named = neutral if name == "neutral" else sample.previous[head][frame]
        found.append(np.asarray(target == named).tolist())
    return np.array(found)


@pytest.mark.parametrize("name", ["neutral", "repeat"])
def test_deterministic_baseline_equals_a_loop(name, baselines, train):
    """NLL and accuracy on other frames, with ε counted by a loop over the training frames."""
    held_out = sample_of(2, 500)
    got = score(baselines[name], held_out)
    for head in COMPONENTS[1:]:
        buckets = SIZES[head]
        misses = 2000 - int(hits(name, head, train).sum())
        epsilon = min((misses + 1) / 2002, 1 - 1 / buckets)
        right = hits(name, head, held_out)
        nll = [-math.log(1 - epsilon if ok else epsilon / (buckets - 1)) for ok in right]
        assert got.heads[head].nll == pytest.approx(sum(nll) / 500)
        assert got.heads[head].accuracy == pytest.approx(sum(right) / 500)
        assert baselines[name].rates[head] == [pytest.approx(epsilon)]
    in_train, right = hits(name, "buttons", train), hits(name, "buttons", held_out)
    for index, button in enumerate(got.buttons.values()):
        epsilon = (2001 - int(in_train[:, index].sum())) / 2002
        nll = [-math.log(1 - epsilon if ok else epsilon) for ok in right[:, index]]
        assert button.nll == pytest.approx(sum(nll) / 500)
        assert button.accuracy == pytest.approx(sum(right[:, index]) / 500)


@pytest.mark.parametrize("name", ["neutral", "repeat"])
def test_no_other_epsilon_does_better_on_the_training_frames(name, baselines, train):
    fitted = score(baselines[name], train)
    for head in COMPONENTS[1:]:
        others = SIZES[head] - 1
        share = hits(name, head, train).mean()
        grid = np.linspace(0.001, 1 - 1 / SIZES[head], 999)
        nll = -(share * np.log(1 - grid) + (1 - share) * np.log(grid / others))
        assert fitted.heads[head].nll <= nll.min() + 1e-5


def test_marginal_equals_counting(baselines, train):
    held_out = sample_of(3, 400)
    got = score(baselines["marginal"], held_out)
    for head in COMPONENTS[1:]:
        counts = [1 + sum(train.targets[head] == bucket) for bucket in range(SIZES[head])]
        rates = [c / sum(counts) for c in counts]
        assert baselines["marginal"].rates[head] == pytest.approx(rates)
        nll = -np.mean([math.log(rates[t]) for t in held_out.targets[head]])
        assert got.heads[head].nll == pytest.approx(nll)
        assert got.heads[head].accuracy == pytest.approx(
            np.mean(held_out.targets[head] == np.argmax(rates))
        )
    pressed = (train.targets["buttons"].sum(0) + 1) / 2002
    nll = -np.where(held_out.targets["buttons"] > 0, np.log(pressed), np.log(1 - pressed)).mean(0)
    assert [b.nll for b in got.buttons.values()] == pytest.approx(nll.tolist())
    assert [b.predicted_rate for b in got.buttons.values()] == pytest.approx(pressed.tolist())


def test_repeat_wins_where_little_changes_and_fails_where_something_does(baselines):
    held_out = sample_of(4, 2000)
    scores = {name: score(baselines[name], held_out) for name in NAMES}
    for head in COMPONENTS:
        assert scores["repeat"].heads[head].nll < scores["marginal"].heads[head].nll
        repeat, marginal = (scores[n].heads[head].changed_nll or 0 for n in ("repeat", "marginal"))
        assert repeat > marginal > 0
    for head in COMPONENTS[1:]:
        assert scores["repeat"].heads[head].changed_accuracy == 0


def test_a_miss_that_training_never_saw_stays_finite():
    targets = {n: np.broadcast_to(v, (10, *v.shape)) for n, v in neutral_buckets(SIZES).items()}
    still = Sample.of(targets, targets, weights=np.ones(10), characters=np.ones(10, int))
    fit = BaselineFit(SIZES)
    fit.add(still)
    for baseline in fit.baselines().values():
        assert 1.0 < score(baseline, sample_of(5, 50)).nll < 100


def test_weights_count():
    targets, previous = play(6, 100)
    weights = np.random.default_rng(0).choice([0.0, 1.0], 100)
    whole, kept = BaselineFit(SIZES), BaselineFit(SIZES)
    whole.add(Sample.of(targets, previous, weights=weights, characters=np.ones(100, int)))
    some = [{n: v[weights > 0] for n, v in part.items()} for part in (targets, previous)]
    ones = np.ones(int(weights.sum()))
    kept.add(Sample.of(*some, weights=ones, characters=ones.astype(int)))
    for name in NAMES:
        assert whole.baselines()[name].rates == kept.baselines()[name].rates


def test_nothing_to_fit_on():
    with pytest.raises(ValueError, match="at least one frame"):
        BaselineFit(SIZES).baselines()
