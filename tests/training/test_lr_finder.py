"""The learning rate finder on losses whose limit is known."""

import contextlib
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from exphil_tf import find_lr
from exphil_tf.foundation.config import load_given
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.learner import Report
from exphil_tf.training.lr_finder import Ramp, suggest, sweep
from exphil_tf.training.lr_finder_config import FindLRConfig, LRFinderConfig

CURVATURE = 50.0
"""Of the bowl: gradient descent diverges on it from a learning rate of 2 / CURVATURE on."""
CONFIG = LRFinderConfig(updates=200, lr_min=1e-5, lr_max=10.0)


class Bowl:
    """Gradient descent on `1 + curvature / 2 x²`, by a ramp."""

    def __init__(self, config: LRFinderConfig):
        self.ramp, self.x, self.loss = Ramp(config), 1.0, math.nan

    def update(self, batches, *, step):
        next(batches)
        self.loss = 1 + CURVATURE / 2 * self.x**2
        self.x -= float(self.ramp(step)) * CURVATURE * self.x

    def take_report(self):
        return Report(1.0, {"loss": self.loss} if math.isfinite(self.loss) else {}, 0, 0)


def bowl(config: LRFinderConfig) -> SimpleNamespace:
    data = SimpleNamespace(batches=lambda: iter(range(10**6)), named_errors=contextlib.nullcontext)
    return SimpleNamespace(learner=Bowl(config), data=data, start=dict)


def test_a_bowls_limit_is_found():
    """Nothing beyond the limit is suggested, nor anything that would take for ever."""
    limit = 2 / CURVATURE
    told = []
    found = sweep(bowl(CONFIG), CONFIG, on_update=lambda updates, so_far: told.append(updates))
    assert found.has_diverged and len(found.rates) < CONFIG.updates
    assert told == list(range(1, len(found.rates) + 1))
    assert found.rates[-1] > limit
    suggestion = suggest(found.rates, found.smoothed)
    assert limit / 50 < suggestion.lr < limit
    assert suggestion.lr == suggestion.steepest < suggestion.lowest


def test_rates_grow_by_one_factor():
    rates = [float(Ramp(CONFIG)(step)) for step in (0, 1, 2, 198, 199, 400)]
    factor = 1e6 ** (1 / 199)
    np.testing.assert_allclose(rates[:3], 1e-5 * factor ** np.arange(3), rtol=1e-5)
    np.testing.assert_allclose(rates[3:], [10 / factor, 10, 10], rtol=1e-5)


def test_what_does_not_diverge_says_so():
    config = LRFinderConfig(updates=100, lr_min=1e-5, lr_max=1e-3)
    found = sweep(bowl(config), config)
    assert not found.has_diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) == 100
    assert found.rates[-1] == pytest.approx(1e-3)


def test_suggestion_of_a_drawn_curve():
    """A step down at 1e-4 or at 4e-3, the lowest point at 1e-2."""
    rates = np.geomspace(1e-6, 1, 61)
    logs = np.log10(rates)

    def found(fall: float):
        falling = 5 - 3 / (1 + np.exp(-4 * (logs - fall)))
        rising = 0.5 * np.maximum(logs + 2, 0) ** 2 - 0.05 * np.minimum(logs, -2)
        return suggest(rates.tolist(), (falling + rising).tolist())

    early, late = found(-4.0), found(-2.4)
    assert early.lowest == pytest.approx(1e-2, rel=0.3)
    assert early.lr == early.steepest == pytest.approx(1e-4, rel=0.01)
    assert late.lr == late.lowest / 10 < late.steepest


def test_a_run_that_goes_on_keeps_its_rate():
    with pytest.raises(UserError, match="--resume: a run that goes on keeps its learning rate"):
        find_lr.main(["--data", "d", "--resume", "auto"])


def test_the_command_leaves_a_figure_and_no_run(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    find_lr.main([
        "--data", str(dataset), "--backbone", "mlp", "--hidden", "8", "--head-hidden", "4",
        "--batch-size", "4", "--window-size", "30", "--no-jit", "--updates", "30", "--seed", "1",
        "--no-prev-action-buckets",
    ])  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr_finder"]
    facts = json.loads((tmp_path / "lr_finder/lr_finder.json").read_text())
    assert facts["losses"][0] == pytest.approx(18.6, abs=1.5)  # ln 2 a button, ln 17 an axis, ln 5
    assert facts["rates"][0] == pytest.approx(1e-6)
    assert (tmp_path / "lr_finder/lr_finder.svg").read_bytes().startswith(b"<?xml")
    shown = capsys.readouterr().out
    assert f"Suggested: --lr {facts['suggestion']['lr']:.2g}" in shown


def test_options_without_a_part_in_it_are_named(monkeypatch):
    monkeypatch.setenv("EXPHIL_EPOCHS", "3")
    flags = "--data d --lr 1e-3 --patience 2 --early-stopping --wandb --log-interval 5 --output o"
    loaded = load_given(FindLRConfig, [*flags.split(), "--name", "n", "--batch-size", "4"])
    (note,) = find_lr.without_part(loaded.given)
    assert set(note.partition(":")[0].split(", ")) == {
        "--lr", "--patience", "--early-stopping", "--wandb", "--name"
    }  # fmt: skip
    assert find_lr.without_part({}) == []
