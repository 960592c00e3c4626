"""Rules compute what Python does, and are compiled once for all numbers."""

import numba
import numpy as np
import pytest
from numba.core import config

from exphil_tf.sim.compiled import rule

POINT = np.dtype([("x", "f4"), ("hits", "i1")])
pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="rules are plain functions")


@rule
def _scaled(p, by):
    total = 0.0
    for at in range(p.hits):
        total += p.x * by**2 - at
    return -total if total > by else total // 2


@rule
def _move(p, by):
    p.x = _scaled(p, by)
    p.hits -= 1


@numba.njit
def _play(points, by):
    for at in range(len(points)):
        _move(points[at], 2)
        _move(points[at], 3)
        _move(points[at], by)


def test_rules_compute_as_python() -> None:
    points = np.zeros(5, POINT)
    points["x"], points["hits"] = np.arange(5) - 2.5, 5
    plain = points.copy()
    _play(points, 4)
    for p in plain:
        for by in (2, 3, 4):
            total = 0.0
            for at in range(p["hits"]):
                total += float(p["x"]) * by**2 - at
            p["x"] = -total if total > by else total // 2
            p["hits"] -= 1
    np.testing.assert_array_equal(points, plain)


def test_once_for_all_numbers() -> None:
    _play(np.zeros(1, POINT), 4)
    assert len(_move.overloads) == 1
