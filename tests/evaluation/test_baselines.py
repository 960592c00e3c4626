"""Baselines against brute force: every ε tried, every frame counted by a loop."""

import math

import numpy as np
import pytest

from exphil_tf.evaluation.baselines import (
    NAMES,
    BaselineFit,
    neutral_buckets,
)
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.features.controller import COMPONENTS, NEUTRAL_VALUES, ControllerCodec, to_bytes
from exphil_tf.features.transitions import STRENGTHS, transition_rates

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
        assert got.components[head].nll == pytest.approx(sum(nll) / 500)
        assert got.components[head].accuracy == pytest.approx(sum(right) / 500)
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
        assert fitted.components[head].nll <= nll.min() + 1e-5


def test_marginal_equals_counting(baselines, train):
    held_out = sample_of(3, 400)
    got = score(baselines["marginal"], held_out)
    for head in COMPONENTS[1:]:
        counts = [1 + sum(train.targets[head] == bucket) for bucket in range(SIZES[head])]
        rates = [c / sum(counts) for c in counts]
        assert baselines["marginal"].rates[head] == pytest.approx(rates)
        nll = -np.mean([math.log(rates[t]) for t in held_out.targets[head]])
        assert got.components[head].nll == pytest.approx(nll)
        assert got.components[head].accuracy == pytest.approx(
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
        assert scores["repeat"].components[head].nll < scores["marginal"].components[head].nll
        repeat, marginal = (
            scores[n].components[head].changed_nll or 0 for n in ("repeat", "marginal")
        )
        assert repeat > marginal > 0
    for head in COMPONENTS[1:]:
        assert scores["repeat"].components[head].changed_accuracy == 0


# -- Markov ----------------------------------------------------------------------------------------


def test_transition_rates_by_hand():
    """Two buckets that always alternate: the counts alone foretell best, so strength 0.

    p(1|0) = (8 + ½) / (8 + 1).
    """
    rates = transition_rates(np.array([[0.0, 8.0], [8.0, 0.0]]))
    np.testing.assert_allclose(rates, [[0.5 / 9, 8.5 / 9], [8.5 / 9, 0.5 / 9]], rtol=1e-12)


def test_transition_rates_by_hand_of_too_few_frames():
    """0→0 four times, 0→1 twice, 1→1 twice: rows that say no more than both together.

    Staying: (6 + 1) / (8 + 2) = .7; marginal: (4 + 1, 4 + 1) / 10. So the opinion of row 0 is .85
    and .15, of row 1 .15 and .85, and weighs most: p(0|0) = (4 + 1024·.85 + ½) / (6 + 1024 + 1).
    """
    rates = transition_rates(np.array([[4.0, 2.0], [0.0, 2.0]]))
    want = [[874.9 / 1031, 156.1 / 1031], [154.1 / 1027, 872.9 / 1027]]
    np.testing.assert_allclose(rates, want, rtol=1e-12)


def test_a_row_that_training_never_saw_stays_or_draws_from_the_marginal():
    pairs = np.zeros((3, 3))
    pairs[0, 0], pairs[0, 1], pairs[1, 0] = 900, 50, 50
    stay, marginal = 901 / 1002, np.array([951, 51, 1]) / 1003
    opinion = (1 - stay) * marginal + stay * np.eye(3)[2]
    ways = [(strength * opinion + 1 / 3) / (strength + 1) for strength in STRENGTHS]
    row = transition_rates(pairs)[2]
    assert any(np.allclose(row, way, rtol=1e-12) for way in ways)


@pytest.mark.parametrize("seed", range(20))
def test_smoothing_is_the_one_that_leaving_out_frames_prefers(seed):
    """Against a loop over the frames, on tables of many sizes and fillings."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 8))
    pairs = np.floor(rng.exponential(rng.choice([0.5, 3, 40]), (size, size)))
    pairs[0, 0] += 1
    frames = int(pairs.sum())
    stay = (sum(pairs[a, a] for a in range(size)) + 1) / (frames + 2)
    marginal = [(pairs[:, b].sum() + 1) / (frames + size) for b in range(size)]

    def rate(a, b, strength, left_out):
        opinion = (1 - stay) * marginal[b] + (stay if a == b else 0)
        hits = pairs[a, b] - left_out + strength * opinion + 1 / size
        return hits / (pairs[a].sum() - left_out + strength + 1)

    cells = [(a, b) for a in range(size) for b in range(size)]
    costs = [
        -sum(pairs[a, b] * math.log(rate(a, b, s, 1)) for a, b in cells if pairs[a, b])
        for s in STRENGTHS
    ]
    strength = STRENGTHS[int(np.argmin(costs))]
    want = [[rate(a, b, strength, 0) for b in range(size)] for a in range(size)]
    got = transition_rates(pairs)
    np.testing.assert_allclose(got, want, rtol=1e-9)
    np.testing.assert_allclose(got.sum(-1), 1)
    assert got.min() > 0


def test_markov_equals_a_loop(baselines, train):
    """Each frame of other games looked up in a table that a loop counted."""
    held_out = sample_of(7, 300)
    got, rates = score(baselines["markov"], held_out), baselines["markov"].rates
    for head in COMPONENTS[1:]:
        pairs = np.zeros((SIZES[head],) * 2)
        for before, after in zip(train.previous[head], train.targets[head], strict=True):
            pairs[before, after] += 1
        table = transition_rates(pairs)
        assert rates[head] == [pytest.approx(row) for row in table.tolist()]
        frames = zip(held_out.previous[head], held_out.targets[head], strict=True)
        nll = [-math.log(table[before, after]) for before, after in frames]
        assert got.components[head].nll == pytest.approx(sum(nll) / 300)
    for index, button in enumerate(got.buttons.values()):
        pairs = np.zeros((2, 2))
        before, after = (p["buttons"][:, index] for p in (train.previous, train.targets))
        np.add.at(pairs, (before, after), 1)
        table = transition_rates(pairs)
        assert rates["buttons"][index] == pytest.approx(table[:, 1])
        before, after = (p["buttons"][:, index] for p in (held_out.previous, held_out.targets))
        assert button.nll == pytest.approx(-np.log(table[before, after]).mean())


def test_markov_learns_a_habit_that_repeating_and_counting_miss():
    """A player who goes round: 0 → 1 → 2 → 0 in every head, buttons on and off."""
    row = np.arange(1, 601)

    def at(rows):
        buttons = np.repeat(rows[:, None] % 2, 8, 1)
        return {"buttons": buttons} | {head: rows % 3 for head in COMPONENTS[1:]}

    round_and_round = Sample.of(
        at(row), at(row - 1), weights=np.ones(600), characters=np.ones(600, int)
    )
    fit = BaselineFit(SIZES)
    fit.add(round_and_round)
    scores = {name: score(b, round_and_round).nll for name, b in fit.baselines().items()}
    assert scores.pop("markov") < 0.1
    assert min(scores.values()) > 5


@pytest.mark.parametrize("frames", [100, 300, 2000])
@pytest.mark.parametrize("stickiness", [0.0, 0.5, 0.95, 1.0])
def test_markov_never_costs_much_more_than_another_baseline(frames, stickiness):
    """On other frames of the same player, however few it was fitted on."""
    samples = []
    for seed, length in ((11, frames), (12, 2000)):
        targets, previous = play(seed, length, stickiness)
        ones = np.ones(length)
        samples.append(Sample.of(targets, previous, weights=ones, characters=ones.astype(int)))
    fit = BaselineFit(SIZES)
    fit.add(samples[0])
    scores = {name: score(b, samples[1]).nll for name, b in fit.baselines().items()}
    assert scores["markov"] < 1.1 * min(scores.values()) + 0.05


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
