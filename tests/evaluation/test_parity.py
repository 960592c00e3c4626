"""Parity: exact figures on canned forms, and exported tiny policies against their networks."""

import io
import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from any_backbone import each
from rich.console import Console

from exphil_tf.checkpoints.policy_bundle import requantized
from exphil_tf.evaluation import parity_report, policy_runners
from exphil_tf.evaluation.episodes import GameBatch, batch_games, long_game, perspectives_of
from exphil_tf.evaluation.parity import STEPS, Form, run_parity
from exphil_tf.evaluation.policy_runners import KerasRunner, OnnxRunner, Segment
from exphil_tf.exporting.games import calibrated
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.inference.forcing import force
from exphil_tf.sim.sample_games import SampleConfig, make_games
from models.policy_config import QuantizationConfig
from tests.exported_policies import export, make_policy

CODEC = ControllerCodec()
SIZES = CODEC.sizes
LOGITS = sum(SIZES.values())


@pytest.fixture(scope="module")
def perspectives():
    """Both players' perspectives of two games of about six and seven seconds."""
    settings = SampleConfig(games=2, seed=2, min_seconds=6, max_seconds=7)
    return list(perspectives_of(make_games(settings)))


@pytest.fixture(scope="module")
def batch(perspectives):
    return batch_games(perspectives, CODEC, rows=3, multiple=STEPS)


def known(value: float | None) -> float:
    assert value is not None
    return value


# -- Exact figures on canned forms -----------------------------------------------------------------


class Canned:
    """A form that says the same on every frame, with a memory that counts steps."""

    def __init__(self, *, memory=0.0, scale=1.0, **logits):
        row = {name: np.zeros(size) for name, size in SIZES.items()} | logits
        self.row = (np.concatenate([row[n] for n in COMPONENTS]) * scale).astype(np.float32)
        self.memory = memory

    def run(self, batch: GameBatch, *, steps: int) -> Iterator[Segment]:
        for start in range(0, batch.num_steps, steps):
            shape = (batch.num_rows, steps, LOGITS)
            total = np.full((batch.num_rows, 2), (start + steps) * self.memory, np.float32)
            yield Segment(np.broadcast_to(self.row, shape), {"total": total})


def one_hot(size, place, value=1.0):
    return np.eye(size)[place] * value


def canned_streams(*, uncounted=0):
    """Two rows of 500 steps: main_x is 3 on a quarter of the counted frames, else 8."""
    counted = np.ones((2, 2 * STEPS), bool)
    counted[1, : uncounted or None] = not uncounted
    targets = {n: np.zeros((2, 2 * STEPS), np.int32) for n in COMPONENTS[1:]}
    targets["buttons"] = np.zeros((2, 2 * STEPS, 8), np.int32)
    targets["main_x"][:] = np.where(np.arange(2 * STEPS) % 4 == 0, 3, 8)
    steps = (2, 2 * STEPS)
    columns = {"p.character": np.zeros((*steps, 2), np.uint8), "s.stage": np.zeros(steps, np.uint8)}
    return GameBatch(columns, targets, np.zeros((2, 2 * STEPS), bool), counted)


def test_figures_by_hand():
    """One head differs by known amounts, all others are even."""
    forms = {
        "keras float": Form(Canned()),
        "copy": Form(Canned(main_x=one_hot(17, 8, 2.0), memory=1e-4), "keras float", "exact"),
        "pressed": Form(Canned(buttons=one_hot(8, 2)), "keras float", "quantized"),
    }
    batch = canned_streams()
    report = run_parity(forms, batch, codec=CODEC, long=batch)
    assert report.frames == 1000
    # Even odds: 8 ln 2 for the buttons, ln 17 per axis, ln 5 for the shoulder.
    even = {"buttons": 8 * math.log(2), **dict.fromkeys(("main_x", "c_y"), math.log(17))}
    for name, nats in even.items():
        assert report.forms["keras float"].components[name].nll == pytest.approx(nats)
    # A quarter of the frames has another bucket than the one that was made likelier by 2.
    total = math.log(16 + math.exp(2))
    expected = total - 0.75 * 2
    copy = report.forms["copy"]
    assert copy.components["main_x"].nll == pytest.approx(expected)
    assert copy.components["main_x"].relative_nll == pytest.approx(expected / math.log(17) - 1)
    whole = 8 * math.log(2) + 4 * math.log(17) + math.log(5)
    assert copy.nll == pytest.approx(whole + expected - math.log(17))
    assert copy.relative_nll == pytest.approx(copy.nll / whole - 1)
    # The likeliest bucket of even odds is the first, of the copy the ninth.
    assert copy.components["main_x"].agreement == copy.components["main_x"].agreement_each == 0
    assert copy.components["buttons"].agreement == copy.components["c_x"].agreement == 1
    assert (copy.max_logit_difference, copy.mean_logit_difference) == (2, 2 / LOGITS)
    # One pressed button of eight is another choice of the buttons.
    assert report.forms["pressed"].components["buttons"].agreement == 0
    assert report.forms["pressed"].components["buttons"].agreement_each == 7 / 8
    assert report.forms["pressed"].components["main_y"].agreement == 1
    # The memory is looked at after 250 and 500 steps.
    assert report.drift["copy"].frames == (250, 500)
    assert report.drift["copy"].differences == pytest.approx((0.025, 0.05))
    assert report.drift["copy"].max_logits == (2, 2)
    assert report.drift["keras float"].differences == ()


def test_what_is_asked_is_judged():
    even, loud = Canned(), Canned(scale=30.0, c_x=one_hot(17, 0))
    fine = {"keras float": Form(Canned(c_x=one_hot(17, 0)))}
    fine |= {
        "onnx float32": Form(fine["keras float"].runner, "keras float", "exact"),
        "onnx int8-qat": Form(fine["keras float"].runner, "keras float", "quantized"),
        "onnx int8-static": Form(even, "keras float"),
    }
    batch = canned_streams()
    report = run_parity(fine, batch, codec=CODEC, long=batch)
    # One of the exact form; six heads, likelihood and bound of the quantized; none of the shown.
    assert len(report.checks) == 1 + 8 and report.is_met
    wrong = fine | {
        "onnx float32": Form(Canned(c_x=one_hot(17, 0), memory=1e-5), "keras float", "exact"),
        "onnx int8-qat": Form(loud, "keras float", "quantized"),
    }
    report = run_parity(wrong, batch, codec=CODEC, long=batch)
    missed = {(check.form, check.what.split()[0]) for check in report.checks if not check.is_met}
    assert missed == {("onnx float32", "memory"), ("onnx int8-qat", "largest")}
    assert not report.is_met
    shy = fine | {"onnx int8-qat": Form(Canned(c_x=one_hot(17, 1)), "keras float", "quantized")}
    report = run_parity(shy, batch, codec=CODEC)
    missed = [check for check in report.checks if not check.is_met]
    # Of the human's bucket 0, e / (16 + e) becomes 1 / (16 + e): a nat more of 19.1.
    assert [check.what.split()[0] for check in missed] == ["c_x:", "NLL"]
    assert missed[0].value == 0
    c_x = math.log(16 + math.e) - 1
    whole = 8 * math.log(2) + 3 * math.log(17) + math.log(5) + c_x
    assert missed[1].value == pytest.approx(1 / whole)


def test_frames_that_do_not_count_change_no_figure():
    class Wild(Canned):
        """Says something else wherever frames do not count."""

        def run(self, batch, *, steps):
            for start, stretch in zip(
                range(0, batch.num_steps, steps), super().run(batch, steps=steps), strict=True
            ):
                counted = batch.counted[:, start : start + steps, None]
                yield stretch._replace(logits=np.where(counted, stretch.logits, 99.0))

    batch = canned_streams(uncounted=300)
    forms = {"keras float": Form(Canned()), "wild": Form(Wild(), "keras float")}
    report = run_parity(forms, batch, codec=CODEC)
    assert report.frames == 700
    assert report.forms["wild"].max_logit_difference == 0
    assert report.forms["wild"].relative_nll == 0
    assert report.drift == {}


def test_a_form_without_its_reference_is_refused():
    with pytest.raises(ValueError, match=r"want \['keras qat'\]. Received: \['a', 'keras float'\]"):
        run_parity(
            {"keras float": Form(Canned()), "a": Form(Canned(), "keras qat")},
            canned_streams(),
            codec=CODEC,
        )


# -- Exported policies -----------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", each())
def test_an_export_plays_like_its_network(backbone, batch):
    """A stretch of each backbone, with a game that begins in the midst of it."""
    assert np.flatnonzero(batch.is_resetting[0, STEPS : 2 * STEPS]).size == 1
    policy = make_policy(backbone)
    pair = (KerasRunner(policy), OnnxRunner(export(policy), CODEC))
    keras, onnx = (next(runner.run(batch, steps=2 * STEPS)) for runner in pair)
    np.testing.assert_allclose(onnx.logits, keras.logits, atol=1e-5)
    assert np.std(keras.logits[..., 8:25], axis=1).mean() > 0.01  # it does look at the frames
    assert onnx.state.keys() == keras.state.keys()


def test_a_float_export_does_not_drift(perspectives, batch):
    policy = make_policy(layers=2)
    forms = {
        "keras float": Form(KerasRunner(policy)),
        "onnx float32": Form(OnnxRunner(export(policy), CODEC), "keras float", "exact"),
    }
    long = long_game(perspectives, CODEC, frames=1000)
    report = run_parity(forms, batch, codec=CODEC, long=long)
    found = report.forms["onnx float32"]
    assert report.frames > 1500
    assert known(found.max_logit_difference) < 1e-4
    assert abs(found.relative_nll) < 1e-5
    assert {head.agreement for head in found.components.values()} == {1.0}
    assert report.is_met
    assert report.drift["onnx float32"].frames == (250, 500, 750, 1000)
    assert max(report.drift["onnx float32"].differences) < 1e-4


def test_quantized_exports_play_like_their_network_and_a_stranger_does_not(batch):
    policy = make_policy()
    quantized = calibrated(policy, batch)
    dynamic = requantized(policy, QuantizationConfig(qat=True, qat_activations="dynamic"))

    def form(policy, precision, reference):
        return Form(OnnxRunner(export(policy, precision), CODEC), reference, "quantized")

    forms = {
        "keras float": Form(KerasRunner(policy)),
        "keras qat": Form(KerasRunner(quantized), "keras float"),
        "static": form(quantized, "int8-qat", "keras qat"),
        "keras dynamic": Form(KerasRunner(dynamic), "keras float"),
        "dynamic": form(dynamic, "int8-qat", "keras dynamic"),
        "stranger": form(make_policy(seed=5), "float32", "keras float"),
    }
    report = run_parity(forms, batch, codec=CODEC)
    met = {form: [c.is_met for c in report.checks if c.form == form] for form in forms}
    assert len(met["static"]) == 7 and all(met["static"])
    assert sum(met["stranger"]) <= 1
    found = report.forms
    # Either rounds as its network does, ties aside, and the networks not as the float one.
    assert known(found["static"].mean_logit_difference) < 1e-5
    assert known(found["dynamic"].mean_logit_difference) < 5e-4
    assert 1e-4 < known(found["keras qat"].mean_logit_difference) < 1e-2
    assert 1e-4 < known(found["keras dynamic"].mean_logit_difference) < 1e-2
    assert min(head.agreement for head in found["dynamic"].components.values()) > 0.95


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_graph_of_a_fixed_batch_plays_all_rows(batch_size, batch):
    policy = make_policy("lstm")
    fixed = OnnxRunner(export(policy, batch_size=batch_size), CODEC)
    free = OnnxRunner(export(policy), CODEC)
    one, two = (next(runner.run(batch, steps=50)) for runner in (fixed, free))
    assert one.logits.shape == (3, 50, LOGITS)
    np.testing.assert_allclose(one.logits, two.logits, atol=1e-5)
    assert one.state.keys() == two.state.keys() != set()
    for name, part in one.state.items():
        np.testing.assert_allclose(part, two.state[name], atol=1e-5)


def test_a_graph_that_cannot_be_forced_is_found_out(batch, monkeypatch):
    """At temperature 0 a policy does as it likes, which is not what the human did."""
    monkeypatch.setattr(policy_runners, "FORCING_TEMPERATURE", 0.0)
    runner = OnnxRunner(export(make_policy("mlp")), CODEC)
    with pytest.raises(ValueError, match="want the graph to choose the human's buckets"):
        next(runner.run(batch, steps=STEPS))


def test_forcing_uniforms_are_one_where_wanted():
    targets = np.array([[1, 0, 0, 0, 0, 0, 0, 1, 16, 0, 8, 8, 4]], np.int32)
    uniforms = force(targets, CODEC.sizes)
    assert uniforms.shape == (1, LOGITS) and uniforms.dtype == np.float32
    wanted = [0, 7, 8 + 16, 8 + 17, 8 + 34 + 8, 8 + 51 + 8, 8 + 68 + 4]
    assert np.flatnonzero(uniforms[0]).tolist() == wanted
    assert (uniforms[0, wanted] > 0.9999999).all() and (uniforms < 1).all()


# -- The report ------------------------------------------------------------------------------------


def test_report_as_json_and_table():
    forms = {
        "keras float": Form(Canned()),
        "onnx float32": Form(Canned(memory=1e-3), "keras float", "exact"),
    }
    batch = canned_streams()
    report = run_parity(forms, batch, codec=CODEC, long=batch)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["format"] == 2
    assert plain["forms"]["onnx float32"]["reference"] == "keras float"
    assert plain["forms"]["keras float"]["components"]["c_x"]["agreement"] is None
    assert plain["drift"]["onnx float32"]["differences"][-1] == pytest.approx(0.5)
    assert plain["checks"][0]["is_met"] is False
    text = io.StringIO()
    parity_report.show(Console(file=text, width=80), report)
    shown = text.getvalue()
    for part in (
        "1,000 frames",
        "keras float",
        "100.00",
        "5.5452",
        " ! onnx float32: memory",
        "5.0e-01",
    ):
        assert part in shown
    assert "…" not in shown and len(shown.splitlines()) < 30
