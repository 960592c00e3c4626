"""Lines that a library writes to stderr, below Python, are held back while it is imported."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_tf.foundation import tensorflow_import
from exphil_tf.foundation.tensorflow_import import THREADS, limit_threads, quiet_import


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


@pytest.mark.parametrize(("share", "said"), [(None, {}), (3, dict.fromkeys(THREADS, "3"))])
def test_threads_follow_what_is_granted(monkeypatch, share, said):
    monkeypatch.setattr(tensorflow_import, "granted_share", lambda: share)
    environ: dict[str, str] = {}
    limit_threads(environ)
    assert environ == said
    chosen = dict.fromkeys(THREADS, "7")
    limit_threads(chosen)
    assert chosen == dict.fromkeys(THREADS, "7")


@pytest.mark.slow
def test_tensorflow_heeds_it():
    code = "import os, tensorflow as tf\n"
    code += "tf.matmul(tf.ones([64, 64]), tf.ones([64, 64]))\n"
    code += "tasks = '/proc/self/task'\n"
    code += "names = [open(f'{tasks}/{t}/comm').read() for t in os.listdir(tasks)]\n"
    code += "print(sum(name.startswith('tf_Compute') for name in names))"
    if not Path("/proc/self/task").is_dir():
        pytest.skip("threads are listed in /proc")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **dict.fromkeys(THREADS, "3")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "3"
