"""Schedules against closed forms in plain Python."""

import math

import numpy as np
import pytest

from exphil_tf.training.run_config import ScheduleConfig
from exphil_tf.training.schedules import Schedule, fit_warmup

LR, WARMUP, TOTAL = 0.01, 10, 110


def rates(total=TOTAL, steps=None, **options):
    schedule = Schedule(
        ScheduleConfig(**{"lr": LR, "warmup_steps": WARMUP, **options}), total_steps=total
    )
    return np.array([float(schedule(s)) for s in (range(total) if steps is None else steps)])


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "cosine_restarts", "exponential"])
def test_warmup_is_a_ramp(name):
    ramp = rates(lr_schedule=name)[: WARMUP + 1]
    np.testing.assert_allclose(ramp[:WARMUP], LR * np.arange(1, WARMUP + 1) / WARMUP, rtol=1e-6)
    assert ramp[WARMUP] == pytest.approx(LR, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("constant", lambda t: 1.0),
        ("linear", lambda t: 1 - t / 100),
        ("cosine", lambda t: 0.5 * (1 + math.cos(math.pi * t / 100))),
        ("exponential", lambda t: 0.95 ** (t / 1000)),
    ],
)
def test_decay(name, factor):
    found = rates(lr_schedule=name)[WARMUP:]
    np.testing.assert_allclose(found, [LR * factor(t) for t in range(100)], rtol=1e-5, atol=1e-9)


def test_horizon_is_the_run():
    assert rates(total=50_000, steps=[49_999], lr_schedule="cosine")[0] < 1e-8
    # The original's default of 10,000 steps would have been over here.
    middle = rates(total=50_000, steps=[25_005], lr_schedule="cosine")[0]
    assert middle == pytest.approx(LR / 2, rel=1e-3)


def test_decay_steps_override_the_run_and_hold_at_zero():
    found = rates(total=500, steps=[59, 60, 499], lr_schedule="linear", decay_steps=60)
    np.testing.assert_allclose(found, [LR / 50, 0, 0], atol=1e-9)


@pytest.mark.parametrize("mult", [1.0, 1.5, 2.0])
def test_restarts(mult):
    found = rates(
        total=2000, warmup_steps=0, lr_schedule="cosine_restarts", restart_period=20,
        restart_mult=mult,
    )  # fmt: skip
    expected, start, length = [], 0.0, 20.0
    for step in range(2000):
        while step >= start + length - 1e-6:
            start, length = start + length, length * mult
        expected.append(LR * 0.5 * (1 + math.cos(math.pi * (step - start) / length)))
    np.testing.assert_allclose(found, expected, atol=LR * 1e-3)
    assert found[20] == pytest.approx(LR)
    assert found[19] < LR * 0.02


def test_warmup_as_a_share_of_the_run():
    found = rates(lr_schedule="constant", warmup_steps=None, warmup_share=0.1)
    np.testing.assert_allclose(found[:11], LR * np.arange(1, 12) / 11, rtol=1e-6)
    assert found[11] == pytest.approx(LR)
    assert rates(total=3, warmup_steps=None)[0] == pytest.approx(LR)


def test_a_run_ends_with_its_third_restart_where_no_period_is_given():
    found = rates(total=710, lr_schedule="cosine_restarts")
    # Periods of 100, 200 and 400 updates after a warm-up of 10.
    assert [step for step in range(10, 710) if found[step] == pytest.approx(LR)] == [10, 110, 310]
    assert found[709] < LR * 1e-3


@pytest.mark.parametrize("warmup", [0, 1])
def test_no_warmup(warmup):
    assert rates(total=1, warmup_steps=warmup, lr_schedule="constant")[0] == pytest.approx(LR)


@pytest.mark.parametrize(
    ("asked", "total", "wanted"),
    [(2000, 212, 21), (212, 212, 21), (211, 212, 211), (5, 3, 1), (1, 1, 1)],
)
def test_warmup_that_would_outlast_the_run_becomes_a_tenth_of_it(asked, total, wanted):
    fitted = fit_warmup(ScheduleConfig(warmup_steps=asked), total)
    assert fitted.warmup_steps == wanted
    Schedule(fitted, total_steps=total)  # does not raise


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match=r"less than the run's steps \(5\). Received: 10"):
        rates(total=5)
    with pytest.raises(ValueError, match=r"less than decay_steps \(8\). Received: 10"):
        rates(decay_steps=8)


@pytest.mark.parametrize(
    "options",
    [{"lr": 0}, {"lr": math.nan}, {"warmup_steps": -1}, {"restart_mult": 0.5}, {"decay_steps": 0}],
)
def test_wrong_values_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ScheduleConfig(**options)
