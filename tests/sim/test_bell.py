"""A bell: each ring ends one wait, whoever is first, awake or asleep."""

import threading
import time

import pytest

from exphil_tf.sim.bell import Bell


@pytest.mark.parametrize("awake", [True, False])
def test_each_ring_ends_one_wait_whoever_is_first(awake):
    bell, heard = Bell(awake=awake), []
    bell.ring()
    bell.wait()  # rang before

    def wait():
        bell.wait()
        heard.append(1)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.05)  # by now it sleeps, as a rule
    assert not heard
    bell.ring()
    waiting.join(timeout=30)
    assert heard


@pytest.mark.parametrize("awake", [True, False])
def test_two_threads_take_turns_and_none_is_lost(awake):
    there, back, turns = Bell(awake=awake), Bell(awake=awake), []

    def answer():
        for turn in range(500):
            there.wait()
            turns.append(turn)
            if turn % 50 == 0:
                time.sleep(0.002)  # so that the other sleeps at times
            back.ring()

    other = threading.Thread(target=answer, daemon=True)
    other.start()
    for turn in range(500):
        there.ring()
        back.wait()
        assert len(turns) == turn + 1
    other.join(timeout=30)
    assert not other.is_alive()
