"""Metrics against figures worked out by hand and against loops over single frames."""

import math

import numpy as np
import pytest

from exphil_tf.evaluation.component_sums import log_sigmoid, log_softmax, top_share
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.features.controller import AXES, COMPONENTS, ControllerCodec
from exphil_tf.melee.enums import BUTTONS, Character, character_name

SIZES = ControllerCodec(axis_buckets=5, shoulder_buckets=3).sizes


def random_buckets(rng, shape):
    buckets = {"buttons": (rng.random((*shape, 8)) < 0.3).astype(np.int32)}
    for name in COMPONENTS[1:]:
        buckets[name] = rng.integers(0, SIZES[name], shape).astype(np.int32)
    return buckets


def random_logits(rng, shape, scale=2.0):
    return {n: (rng.normal(size=(*shape, SIZES[n])) * scale).astype(np.float32) for n in COMPONENTS}


def random_batch(seed, shape=(4, 25)):
    rng = np.random.default_rng(seed)
    targets, previous = random_buckets(rng, shape), random_buckets(rng, shape)
    keep = rng.random(shape) < 0.5
    for name in COMPONENTS:
        same = keep[..., None] if name == "buttons" else keep
        previous[name] = np.where(same, targets[name], previous[name])
    weights = rng.choice([0.0, 0.25, 1.0], shape)
    characters = rng.choice([Character.FOX, Character.MARTH, 99], shape)
    return random_logits(rng, shape), targets, previous, weights, characters


def accumulate(batches):
    accumulator = Accumulator(SIZES)
    for logits, targets, previous, weights, characters in batches:
        sample = Sample.of(targets, previous, weights=weights, characters=characters)
        accumulator.add(sample.pick(logits), sample)
    return accumulator.result()


def softmax(values):
    exps = [math.exp(v) for v in values]
    return [e / sum(exps) for e in exps]


def each_frame(batches):
    """(weight, character, {head: (probabilities, target, previous)}) per counted frame."""
    for logits, targets, previous, weights, characters in batches:
        for index in np.ndindex(weights.shape):
            if weights[index] > 0:
                heads = {}
                for name in COMPONENTS:
                    scores = logits[name][index].tolist()
                    probs = (
                        [1 / (1 + math.exp(-s)) for s in scores]
                        if name == "buttons"
                        else softmax(scores)
                    )
                    heads[name] = (probs, targets[name][index], previous[name][index])
                yield float(weights[index]), int(characters[index]), heads


def mean(pairs):
    pairs = list(pairs)
    return sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)


@pytest.fixture(scope="module")
def batches():
    return [random_batch(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def frames(batches):
    return list(each_frame(batches))


@pytest.fixture(scope="module")
def result(batches):
    return accumulate(batches)


def test_counts(result, frames):
    assert result.frames == len(frames) > 100
    assert result.weight == pytest.approx(sum(w for w, _, _ in frames))


@pytest.mark.parametrize("head", COMPONENTS[1:])
def test_categorical_head_equals_a_loop(head, result, frames):
    rows = [(w, *heads[head]) for w, _, heads in frames]
    got = result.components[head]
    assert got.nll == pytest.approx(mean((w, -math.log(p[t])) for w, p, t, _ in rows), rel=1e-6)
    assert got.accuracy == pytest.approx(mean((w, max(p) == p[t]) for w, p, t, _ in rows))
    assert got.top3 == pytest.approx(mean((w, p[t] in sorted(p)[-3:]) for w, p, t, _ in rows))
    entropy = mean((w, -sum(q * math.log(q) for q in p)) for w, p, _, _ in rows)
    assert got.entropy == pytest.approx(entropy, rel=1e-6)
    changed = [(w, p, t) for w, p, t, before in rows if t != before]
    assert got.changed_share == pytest.approx(mean((w, t != b) for w, _, t, b in rows))
    assert got.changed_nll == pytest.approx(mean((w, -math.log(p[t])) for w, p, t in changed))
    assert got.changed_accuracy == pytest.approx(mean((w, max(p) == p[t]) for w, p, t in changed))
    assert got.ece == pytest.approx(naive_ece([(w, max(p), max(p) == p[t]) for w, p, t, _ in rows]))


def naive_ece(rows):
    total = 0.0
    for bin_ in range(10):
        inside = [
            r for r in rows if bin_ / 10 <= r[1] < (bin_ + 1) / 10 or (bin_ == 9 and r[1] == 1)
        ]
        if inside:
            gap = mean((w, c) for w, c, _ in inside) - mean((w, ok) for w, _, ok in inside)
            total += sum(w for w, _, _ in inside) * abs(gap)
    return total / sum(w for w, _, _ in rows)


@pytest.mark.parametrize("index", range(8))
def test_button_equals_a_loop(index, result, frames):
    rows = [(w, p[index], bool(t[index])) for w, _, h in frames for p, t, _ in [h["buttons"]]]
    got = result.buttons[BUTTONS[index]]
    assert got.nll == pytest.approx(mean((w, -math.log(p if t else 1 - p)) for w, p, t in rows))
    assert got.accuracy == pytest.approx(mean((w, (p > 0.5) == t) for w, p, t in rows))
    assert got.rate == pytest.approx(mean((w, t) for w, p, t in rows))
    assert got.predicted_rate == pytest.approx(mean((w, p) for w, p, t in rows))
    assert got.likeliest_rate == pytest.approx(mean((w, p > 0.5) for w, p, t in rows))
    assert got.gap == pytest.approx(got.predicted_rate - got.rate)
    hits = sum(w for w, p, t in rows if t and p > 0.5)
    guessed, pressed = (
        sum(r[0] for r in rows if ok(r)) for ok in (lambda r: r[1] > 0.5, lambda r: r[2])
    )
    assert got.precision == pytest.approx(hits / guessed)
    assert got.recall == pytest.approx(hits / pressed)
    assert got.f1 == pytest.approx(2 / (guessed / hits + pressed / hits))
    entropy = mean((w, -p * math.log(p) - (1 - p) * math.log(1 - p)) for w, p, t in rows)
    assert got.entropy == pytest.approx(entropy, rel=1e-6)
    assert got.ece == pytest.approx(naive_ece([(w, p, t) for w, p, t in rows]))


def test_buttons_component_sums_and_means_its_buttons(result, frames):
    head, buttons = result.components["buttons"], list(result.buttons.values())
    assert head.nll == pytest.approx(sum(b.nll for b in buttons))
    assert head.accuracy == pytest.approx(sum(b.accuracy for b in buttons) / 8)
    assert head.top3 is None
    assert result.macro_f1 == pytest.approx(sum(b.f1 for b in buttons) / 8)
    assert result.macro_recall == pytest.approx(sum(b.recall for b in buttons) / 8)
    assert result.press_rate_gap == pytest.approx(sum(abs(b.gap) for b in buttons) / 8)
    changed = mean((w, any(t != b)) for w, _, h in frames for _, t, b in [h["buttons"]])
    assert head.changed_share == pytest.approx(changed)


def test_total_is_the_likelihood_of_the_whole_action(result, frames):
    def nll(heads):
        buttons, pressed, _ = heads["buttons"]
        likelihood = math.prod(p if t else 1 - p for p, t in zip(buttons, pressed, strict=True))
        return -math.log(likelihood * math.prod(heads[n][0][heads[n][1]] for n in COMPONENTS[1:]))

    assert result.nll == pytest.approx(mean((w, nll(heads)) for w, _, heads in frames), rel=1e-6)
    assert result.nll == pytest.approx(sum(head.nll for head in result.components.values()))


def test_characters_split_the_total(result, frames):
    assert {row.name for row in result.characters} == {"fox", "marth", "character_99"}
    assert sum(row.frames for row in result.characters) == result.frames
    assert [r.frames for r in result.characters] == sorted(r.frames for r in result.characters)[
        ::-1
    ]
    for row in result.characters:
        own = [(w, h) for w, character, h in frames if character == row.id]
        assert row.frames == len(own)
        axis = mean((w, -math.log(h["c_x"][0][h["c_x"][1]])) for w, h in own)
        assert row.components["c_x"] == pytest.approx(axis, rel=1e-6)
        assert row.nll == pytest.approx(sum(row.components.values()))
    weighted = sum(r.nll * sum(w for w, c, _ in frames if c == r.id) for r in result.characters)
    assert weighted / result.weight == pytest.approx(result.nll)


def test_confusion_equals_a_loop(result, frames):
    confusion = np.zeros((5, 5))
    for weight, _, heads in frames:
        p_x, x, _ = heads["main_x"]
        confusion[x] += weight * np.asarray(p_x)
    want = confusion / confusion.sum(1, keepdims=True)
    np.testing.assert_allclose(result.confusion["main_x"], want, rtol=1e-6)
    assert set(result.confusion) == set(AXES)
    assert result.sticks == {}


def test_stick_histograms_equal_a_loop(batches):
    accumulator = Accumulator(SIZES)
    human, model, total = np.zeros((5, 5)), np.zeros((5, 5)), 0.0
    for seed, (logits, targets, previous, weights, characters) in enumerate(batches):
        sample = Sample.of(targets, previous, weights=weights, characters=characters)
        drawn = sample.pick(random_buckets(np.random.default_rng(seed), weights.shape))
        accumulator.add(sample.pick(logits), sample, drawn)
        for frame, weight in enumerate(sample.weights):
            human[sample.targets["c_x"][frame], sample.targets["c_y"][frame]] += weight
            model[drawn["c_x"][frame], drawn["c_y"][frame]] += weight
            total += weight
    sticks = accumulator.result().sticks
    assert set(sticks) == {"main", "c"}
    np.testing.assert_allclose(sticks["c"].human, human / total, rtol=1e-12)
    np.testing.assert_allclose(sticks["c"].model, model / total, rtol=1e-12)


def test_batches_of_any_size_give_the_same_figures(batches, result):
    split = [
        tuple(
            {k: v[row] for k, v in part.items()} if isinstance(part, dict) else part[row]
            for part in batch
        )
        for batch in batches
        for row in range(4)
    ]
    again = accumulate(split)
    assert again.nll == pytest.approx(result.nll, rel=1e-12)
    assert again.macro_f1 == pytest.approx(result.macro_f1, rel=1e-12)


def certain(targets, frames, right=True):
    """Logits that put all but nothing on the target, or on another bucket."""
    logits = {"buttons": np.where(targets["buttons"] == right, 40.0, -40.0)}
    for name in COMPONENTS[1:]:
        bucket = (targets[name] + (not right)) % SIZES[name]
        logits[name] = np.where(np.arange(SIZES[name]) == bucket[:, None], 40.0, -40.0)
    return logits


@pytest.mark.parametrize(("right", "accuracy"), [(True, 1.0), (False, 0.0)])
def test_certain_predictions(right, accuracy):
    targets = random_buckets(np.random.default_rng(0), (50,))
    sample = Sample.of(targets, targets, weights=np.ones(50), characters=np.ones(50, int))
    accumulator = Accumulator(SIZES)
    accumulator.add(certain(targets, 50, right), sample)
    result = accumulator.result()
    for name, head in result.components.items():
        assert head.accuracy == accuracy, name
        assert head.entropy == pytest.approx(0, abs=1e-12)
        assert head.nll == pytest.approx(0 if right else {"buttons": 320}.get(name, 80), abs=1e-9)
        assert head.changed_share == 0
        assert head.changed_nll is None
        assert head.changed_accuracy is None
    assert result.macro_f1 == accuracy


def test_uniform_predictions_are_right_by_chance_only():
    targets = {n: np.zeros((6, 8) if n == "buttons" else 6, int) for n in COMPONENTS}
    sample = Sample.of(targets, targets, weights=np.ones(6), characters=np.ones(6, int))
    accumulator = Accumulator(SIZES)
    accumulator.add({n: np.zeros((6, SIZES[n])) for n in COMPONENTS}, sample)
    result = accumulator.result()
    assert result.nll == pytest.approx(8 * math.log(2) + 4 * math.log(5) + math.log(3))
    assert result.components["main_x"].accuracy == pytest.approx(1 / 5)
    assert result.components["main_x"].top3 == pytest.approx(3 / 5)
    assert result.components["shoulder"].top3 == 1
    assert result.components["main_x"].entropy == pytest.approx(math.log(5))
    assert result.components["main_x"].ece == pytest.approx(0, abs=1e-12)
    assert result.macro_f1 is None
    assert result.buttons["A"].precision is None


def test_ece_by_hand():
    """Ten frames at confidence 0.75, six right: error 0.15; ten at 0.95, all right: 0.05."""
    targets = {n: np.zeros((20, 8) if n == "buttons" else 20, int) for n in COMPONENTS}
    targets["shoulder"][:4] = 1
    probs = np.tile([0.75, 0.125, 0.125], (20, 1))
    probs[10:] = [0.95, 0.025, 0.025]
    logits = {n: np.zeros((20, SIZES[n])) for n in COMPONENTS} | {"shoulder": np.log(probs)}
    sample = Sample.of(targets, targets, weights=np.ones(20), characters=np.ones(20, int))
    accumulator = Accumulator(SIZES)
    accumulator.add(logits, sample)
    head = accumulator.result().components["shoulder"]
    assert head.ece == pytest.approx((0.15 + 0.05) / 2)
    assert head.accuracy == pytest.approx(16 / 20)
    assert head.calibration.weight == [0, 0, 0, 0, 0, 0, 0, 10, 0, 10]
    assert head.calibration.accuracy[7] == pytest.approx(0.6)
    assert head.calibration.confidence[0] is None


def test_extreme_logits_stay_finite():
    assert log_softmax(np.array([[1e30, -1e30]])).tolist() == [[0.0, -2e30]]
    assert log_sigmoid(np.array([-1e4, 1e4])).tolist() == [-1e4, 0.0]


def test_top_share_draws_ties_by_lot():
    scores = np.log(np.array([[0.4, 0.3, 0.3], [0.4, 0.3, 0.3]]))
    assert top_share(scores, np.array([0, 1]), 1).tolist() == [1.0, 0.0]
    assert top_share(scores, np.array([0, 1]), 2).tolist() == [1.0, 0.5]


def test_names_of_characters():
    assert character_name(Character.GAMEANDWATCH) == "gameandwatch"
    assert character_name(200) == "character_200"


def test_refusals(batches):
    logits, targets, previous, weights, characters = batches[0]
    with pytest.raises(ValueError, match="at least one frame"):
        Accumulator(SIZES).result()
    with pytest.raises(ValueError, match="weights: want ≥ 0. Received: -1"):
        Sample.of(targets, previous, weights=weights - 1, characters=characters)
    with pytest.raises(ValueError, match="weights: want ≥ 0. Received: nan"):
        Sample.of(targets, previous, weights=weights * np.nan, characters=characters)
    short = targets | {"c_x": targets["c_x"][:, 1:]}
    with pytest.raises(ValueError, match=r"targets.c_x: want shape \[4, 25\]. Received: \[4, 24\]"):
        Sample.of(short, previous, weights=weights, characters=characters)
    sample = Sample.of(targets, previous, weights=weights, characters=characters)
    picked = sample.pick(logits)
    with pytest.raises(
        ValueError, match=r"logits.shoulder: want shape \[\d+, 3\]. Received: \[\d+, 5\]"
    ):
        Accumulator(SIZES).add(picked | {"shoulder": picked["c_x"]}, sample)
    with pytest.raises(ValueError, match="logits.c_x: want finite"):
        Accumulator(SIZES).add(picked | {"c_x": picked["c_x"] * np.nan}, sample)
    with pytest.raises(ValueError, match="logits.buttons: want shape"):
        sample.pick({n: v[:, 1:] for n, v in logits.items()})


def test_a_batch_without_weight_changes_nothing(batches):
    logits, targets, previous, weights, characters = batches[0]
    sample = Sample.of(targets, previous, weights=weights * 0, characters=characters)
    accumulator = Accumulator(SIZES)
    accumulator.add(sample.pick(logits), sample)
    with pytest.raises(ValueError, match="at least one frame"):
        accumulator.result()
