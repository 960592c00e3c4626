"""The folder that compiled steps are kept in: sound entries only, whatever processes do to it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_tf.training.compile_cache import CompilationSink, kept_compilations

NAME = "xla_compile_cache__1__2__XLA_CPU_JIT.pb"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    home = tmp_path / """Ordner \\ "é'"""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home / "exphil-tf/xla"


def folder_of(environ) -> Path:
    """Where TensorFlow is told to keep what it compiles."""
    words = dict(word.split("=", 1) for word in shlex.split(environ["TF_XLA_FLAGS"]))
    assert words["--tf_xla_persistent_cache_device_types"] == "CPU"
    return Path(words["--tf_xla_persistent_cache_directory"])


def test_what_one_process_adds_the_next_one_finds(cache):
    environ: dict[str, str] = {}
    with kept_compilations(environ, is_wanted=True):
        first = folder_of(environ)
        (first / NAME).write_bytes(b"machine code")
        with kept_compilations(other := {}, is_wanted=True):  # at the same time
            assert not list(folder_of(other).iterdir())
    assert environ == {}
    assert not first.exists()
    with kept_compilations(environ, is_wanted=True):
        assert (folder_of(environ) / NAME).read_bytes() == b"machine code"
    with kept_compilations(flagged := {"XLA_FLAGS": "--xla_cpu_x=1"}, is_wanted=True):
        assert not list(folder_of(flagged).iterdir())  # other code comes of other flags
    assert len(list(cache.glob(f"*/*.{NAME}"))) == 1


def test_a_process_that_is_killed_leaves_what_it_compiled(cache):
    """Nothing of `kept_compilations` itself has run by then."""
    with kept_compilations(environ := {}, is_wanted=True):
        (folder_of(environ) / NAME).write_bytes(b"machine code")
        for event in ("start", "compiled", "validation"):
            CompilationSink(environ).write({"event": event})
            with kept_compilations(other := {}, is_wanted=True):
                names = [path.name for path in folder_of(other).iterdir()]
            assert names == ([] if event == "start" else [NAME])
    CompilationSink({}).write({"event": "compiled"})  # nothing is kept: nothing to do
    assert len(list(cache.glob(f"*/*.{NAME}"))) == 1


def test_a_damaged_entry_is_not_offered(cache):
    environ: dict[str, str] = {}
    with kept_compilations(environ, is_wanted=True):
        (folder_of(environ) / NAME).write_bytes(b"machine code")
    (entry,) = cache.glob(f"*/*.{NAME}")
    entry.write_bytes(b"machine c")
    with kept_compilations(environ, is_wanted=True):
        assert not list(folder_of(environ).iterdir())
    assert not entry.exists()


def test_nothing_is_done_where_it_is_not_wanted_or_possible(cache, tmp_path, monkeypatch):
    own = {"TF_XLA_FLAGS": f"--tf_xla_persistent_cache_directory={tmp_path}"}
    for environ, is_wanted in ((dict(own), True), ({}, False)):
        before = dict(environ)
        with kept_compilations(environ, is_wanted=is_wanted):
            assert environ == before
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with kept_compilations(environ := {}, is_wanted=True):
        assert environ == {}
    assert not cache.exists()


@pytest.mark.slow
def test_a_compiled_step_is_loaded_by_the_next_process(cache):
    """Whatever it has made before, and computes the same to the bit; XLA's own counters tell."""
    code = (
        "import os, sys\n"
        "from exphil_tf.training.compile_cache import kept_compilations\n"
        "with kept_compilations(os.environ, is_wanted=True):\n"
        "    import tensorflow as tf\n"
        "    from exphil_tf.training.compiled_step import CompiledStep\n"
        "    w = tf.Variable(tf.random.stateless_normal([8, 8], [1, 2]))\n"
        "    made = [tf.ones([]) for _ in range(int(sys.argv[1]))]\n"
        "    def loss(x):\n"
        "        x = tf.while_loop(lambda x: tf.reduce_max(x) < 9, lambda x: 2 * x, [x])[0]\n"
        "        return tf.reduce_sum(tf.tanh(x @ w) ** 2)\n"
        "    print(float(CompiledStep(loss, jit=True)(tf.ones([4, 8]))).hex())\n"
    )
    environ = {**os.environ, "TF_CPP_VMODULE": "device_executable_persistor=1"}
    environ |= {"TF_CPP_MIN_LOG_LEVEL": "0"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code, made],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
        )
        for made in ("0", "7")
    )
    assert "Loading cached entry" not in first.stderr
    assert "Loading cached entry" in second.stderr
    assert first.stdout == second.stdout != ""
