"""Work shared among threads: all of it is done, by the same threads, and what fails is heard of."""

import threading

import numpy as np
import pytest

from exphil_tf.sim.shares import Shares


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (1, 3), (7, 2), (9, 3)])
def test_each_thing_is_worked_on_once_and_by_the_same_thread(count, threads):
    shares, done, by = Shares(count, threads), np.zeros(count, int), np.zeros((3, count), int)
    for turn in range(3):

        def work(part, turn=turn):
            done[part] += 1
            by[turn, part] = threading.get_ident()

        shares.each(work)
    assert (done == 3).all() and (by == by[0]).all()
    assert len(np.unique(by)) == min(count, threads) and threading.get_ident() in by


@pytest.mark.parametrize("fails", [0, 4])
def test_what_a_part_raises_is_raised_and_the_next_work_goes_on(fails):
    shares, done = Shares(6, 2), []

    def work(part):
        if part.start <= fails < part.stop:
            raise ValueError("of a part")
        done.append(part.start)

    with pytest.raises(ValueError, match="of a part"):
        shares.each(work)
    assert len(done) == 1
    shares.each(lambda part: done.append(part.start))
    assert sorted(done[1:]) == [0, 3]


def test_threads_end_with_who_had_them():
    before = set(threading.enumerate())
    shares = Shares(4, 3)
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 2
    del shares
    for helper in helpers:
        helper.join(timeout=30)
        assert not helper.is_alive()
