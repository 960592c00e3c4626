"""Work shared among threads: all of it is done once, what fails is heard of, nobody waits long."""

import threading
import time

import numpy as np
import pytest

from exphil_tf.sim.shares import Shares


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (1, 3), (7, 2), (9, 3)])
def test_each_thing_is_worked_on_once_by_each_of_the_threads(count, threads):
    shares, done, by = Shares(count, threads), np.zeros(count, int), np.zeros(count, int)

    def work(part):
        done[part] += 1
        by[part] = threading.get_ident()

    for turn in range(50):
        shares.each(work)
        assert (done == turn + 1).all()
        assert len(np.unique(by)) == min(count, threads) and by[0] == threading.get_ident()


def test_whoever_is_waited_for_gets_less():
    shares, caller, sizes = Shares(1024, 2), threading.get_ident(), []

    def work(part, slow):
        is_caller = threading.get_ident() == caller
        if is_caller:
            sizes.append(part.stop - part.start)
        if is_caller == (slow == "caller"):
            time.sleep(0.003)

    for _ in range(30):
        shares.each(lambda part: work(part, "helper"))
    assert sizes[0] == 512 < sizes[-1]
    for _ in range(60):
        shares.each(lambda part: work(part, "caller"))
    assert sizes[-1] < sizes[30]


@pytest.mark.parametrize("fails", [0, 5])
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
    assert len(done) == 3 and done[1] != done[2]


def test_threads_end_with_who_had_them():
    before = set(threading.enumerate())
    shares = Shares(4, 3)
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 2
    del shares
    for helper in helpers:
        helper.join(timeout=30)
        assert not helper.is_alive()
