"""Approaches, openings and conversions of a hand-made game."""

import numpy as np
import pytest

from exphil_tf.rl.behaviour import RESET, Behaviour
from exphil_tf.rl.tally import Tally


def frame(*, x=(0.0, 20.0), percent=0.0, stun=0.0, stock=4, own_stun=0.0):
    return {
        "p.x": np.array([x]),
        "p.percent": np.array([[0.0, percent]]),
        "p.hitstun": np.array([[own_stun, stun]]),
        "p.stock": np.array([[4, stock]]),
    }


def played(frames, counts=True):
    tally, behaviour = Tally(), Behaviour(1)
    for before, after in zip(frames[:-1], frames[1:], strict=True):
        behaviour.see(tally, before, after, counts=np.array([counts]))
    return tally


def test_hits_in_a_row_are_one_opening_and_a_conversion():
    frames = [frame(), frame(percent=5, stun=9), frame(percent=5, stun=1), frame(percent=5)]
    frames += [frame(percent=11), frame(percent=15)]
    tally = played(frames)
    assert (tally.openings, tally.hits, tally.conversions) == (1, 3, 1)


def test_a_pause_ends_a_string():
    pause = [frame(percent=5)] * RESET
    tally = played([frame(), frame(percent=5), *pause, frame(percent=8)])
    assert (tally.openings, tally.hits, tally.conversions) == (2, 2, 0)
    assert played([frame(), frame(percent=5), *pause[1:], frame(percent=8)]).openings == 1


def test_one_hit_that_takes_a_stock_is_a_conversion():
    hit, dies = frame(percent=90, stun=40), frame(percent=0, stock=3)
    tally = played([frame(percent=80), hit, hit, dies, frame(percent=4, stock=3)])
    assert (tally.openings, tally.hits, tally.conversions) == (2, 2, 1)
    # Who falls by himself converts nobody's hit.
    assert played([frame(percent=80), dies]).conversions == 0


def test_moving_towards_the_opponent_is_an_approach():
    assert played([frame(), frame(x=(1, 20))]).approaching == 1
    assert played([frame(), frame(x=(-1, 20))]).approaching == 0
    assert played([frame(x=(30, 20)), frame(x=(29, 20))]).approaching == 1
    assert played([frame(), frame(x=(1, 20), own_stun=5)]).approaching == 0
    assert played([frame(), frame(x=(1, 20))], counts=False).approaching == 0


def test_sums_of_tallies_add_up():
    one = Tally(games=2, wins=1.5, frames=3600, openings=4, conversions=1, leads=[1, 0])
    total = Tally.of_sums([one.sums(), one.sums()])
    assert (total.games, total.wins, total.openings) == (4, 3.0, 8)
    assert total.to_dict()["conversion_rate"] == pytest.approx(0.25)
