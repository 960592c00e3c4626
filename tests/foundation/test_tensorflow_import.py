"""Lines that a library writes to stderr, below Python, are held back while it is imported."""

import logging
import os
from pathlib import Path

import pytest

from exphil_tf.foundation.tensorflow_import import quiet_import


def noise(text):
    os.write(2, text)


def test_held_back_and_then_let_through(capfd):
    with quiet_import():
        noise(b"cuda this, cuda that\n")
    noise(b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_shown_if_the_import_fails(capfd):
    with pytest.raises(ImportError, match="no such thing"), quiet_import():
        noise(b"libfoo.so: cannot open\n")
        raise ImportError("no such thing")
    assert capfd.readouterr().err == "libfoo.so: cannot open\n"


def test_a_logger_that_the_import_made_goes_on_writing(capfd):
    with quiet_import():
        handler = logging.StreamHandler()
    handler.emit(logging.makeLogRecord({"msg": "later"}))
    assert capfd.readouterr().err == "later\n"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists descriptors in /proc")
def test_descriptors_are_given_back():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with quiet_import():
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
