import itertools

import numpy as np
import pytest

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.records.stick_centres import fit


def histogram_of(counts: dict[int, int]) -> np.ndarray:
    histogram = np.zeros(161, int)
    for reading, count in counts.items():
        histogram[80 + reading] += count
    return histogram


def error_of(histogram: np.ndarray, centres: np.ndarray) -> float:
    readings = np.arange(-80, 81)
    return float((histogram * np.abs(readings[:, None] - centres * 80).min(1) ** 2).sum())


def test_best_of_all_symmetric_centres() -> None:
    rng = np.random.default_rng(0)
    support = [5, 23, 40, 41, 60, 79, 80]
    for _ in range(1):
        histogram = histogram_of(
            {s * v: int(rng.integers(1, 100)) for v in support for s in (-1, 1)} | {0: 1000}
        )
        got = fit(histogram, 7)
        best = min(
            error_of(histogram, np.array([-c, -b, -a, 0, a, b, c]) / 80)
            for a, b, c in itertools.combinations(range(1, 81), 3)
        )
        # Means are rounded to the game's grid, which moves the error by less than this.
        assert error_of(histogram, np.array(got.axis_centres)) <= best + 0.25 * histogram.sum()
        assert error_of(histogram, np.array(got.axis_centres)) == pytest.approx(best, rel=0.05)


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
    with pytest.raises(ValueError, match="odd number"):
        fit(np.ones(161, int), 4)
