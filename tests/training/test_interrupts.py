"""Signals, in processes of their own and without TensorFlow."""

import os
import signal
import subprocess
import sys
import time

import pytest

from exphil_tf.process.exit_codes import EXIT_INTERRUPTED
from exphil_tf.training.interrupts import Interrupts

CHILD = """
import ctypes, sys, time
from exphil_tf.training.interrupts import Interrupts
kind, deadline = sys.argv[1], float(sys.argv[2])
with Interrupts(deadline) as interrupts:
    print("ready", flush=True)
    if kind == "polite":
        while not interrupts.requested:
            time.sleep(0.01)
        print("saved", flush=True)
    else:  # inside one long C call that swallows signals, as a compilation is
        libc = ctypes.PyDLL(None)
        while True:
            libc.usleep(100_000)
"""


@pytest.fixture
def start():
    started = []

    def start(kind, deadline):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, kind, str(deadline)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_wish(start, number):
    process = start("polite", 3600)
    process.send_signal(number)
    out, err = process.communicate()
    assert (out, process.returncode) == ("saved\n", 0)
    assert "stopping after this step" in err


def test_a_busy_process_ends_at_the_deadline(start):
    process = start("busy", 0.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == EXIT_INTERRUPTED == 75
    assert "still busy" in err
    assert "--resume auto" in err


def test_the_second_signal_ends_at_once(start):
    process = start("busy", 3600)
    process.send_signal(signal.SIGINT)
    assert "stopping after this step" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == EXIT_INTERRUPTED
    assert "stopped at once" in err


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        while not interrupts.requested:
            time.sleep(0.01)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
