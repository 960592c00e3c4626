import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exphil_tf.features.controller import NEUTRAL_VALUES, ControllerCodec, to_bytes
from exphil_tf.records.stick_centres import fit


def histogram_of(counts: dict[int, int]) -> np.ndarray:
    histogram = np.zeros(161, int)
    for reading, count in counts.items():
        histogram[80 + reading] += count
    return histogram


def error_of(histogram: np.ndarray, centres: np.ndarray) -> float:
    readings = np.arange(-80, 81)
    return float((histogram * np.abs(readings[:, None] - centres * 80).min(1) ** 2).sum())


@pytest.mark.parametrize("support", [(5, 23, 40, 41, 60, 79, 80), (30, 50, 70, 76), (30, 80)])
def test_best_of_all_symmetric_centres_that_reach_the_ends(support: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    histogram = histogram_of(
        {s * v: int(rng.integers(1, 100)) for v in support for s in (-1, 1)} | {0: 1000}
    )
    buckets = min(7, 2 * len([v for v in support if v < 80]) + 3)
    got = fit(histogram, buckets)
    best = min(
        error_of(histogram, np.array([-80, *(-v for v in inner[::-1]), 0, *inner, 80]) / 80)
        for inner in itertools.combinations(range(1, 80), buckets // 2 - 1)
    )
    # Means are rounded to the game's grid, which moves the error by less than this.
    error = error_of(histogram, np.array(got.axis_centres))
    assert best <= error + 1e-9 and error <= best + 0.25 * histogram.sum()
    assert error == pytest.approx(best, rel=0.05)


@given(st.lists(st.integers(0, 1000), min_size=161, max_size=161), st.sampled_from([3, 5, 17, 21]))
@settings(max_examples=50)
def test_a_full_stick_is_full(counts: list[int], buckets: int) -> None:
    histogram = np.array(counts)
    assume((histogram[81:160] + histogram[79:0:-1] > 0).sum() >= buckets // 2 - 1)
    centres = fit(histogram, buckets).axis_centres
    assert (centres[0], centres[-1], len(centres)) == (-1.0, 1.0, buckets)
    codec = ControllerCodec(axis_centres=centres)
    values = codec.decode(codec.encode(to_bytes(NEUTRAL_VALUES | {"main_x": np.float32(1)})))
    assert values["main_x"] == 1


def test_left_and_right_are_one() -> None:
    rng = np.random.default_rng(1)
    histogram = rng.integers(0, 1000, 161)
    centres = np.array(fit(histogram, 21).axis_centres)
    assert len(centres) == 21
    np.testing.assert_array_equal(centres, -centres[::-1])
    assert centres[10] == 0
    assert (np.diff(centres) > 0).all()
    assert fit(histogram[::-1], 21) == fit(histogram, 21)


@pytest.mark.parametrize("buckets", [3, 17, 33, 161])
def test_the_codec_takes_them(buckets: int) -> None:
    histogram = np.random.default_rng(2).integers(1, 1000, 161)
    codec = ControllerCodec(axis_centres=fit(histogram, buckets).axis_centres)
    assert codec.num_axis == buckets


def test_exact_when_there_are_enough() -> None:
    histogram = histogram_of({-80: 3, 0: 9, 40: 2, 80: 1})
    found = fit(histogram, 5)
    assert found.axis_centres == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert found.rms_error == 0


def test_too_many_buckets() -> None:
    with pytest.raises(ValueError, match="at most 5 buckets"):
        fit(histogram_of({80: 1, -40: 1}), 7)
    assert fit(histogram_of({80: 1, -40: 1}), 5).axis_centres == (-1, -0.5, 0, 0.5, 1)
    with pytest.raises(ValueError, match="odd number"):
        fit(np.ones(161, int), 4)
