"""From the first import to the last moment, a signal has a line and a documented code."""

import os
import signal
import subprocess
import sys

import pytest

EARLY = """
import sys
sys.argv = ["-m"]  # as it is while `python -m exphil_tf.train` imports the package
import exphil_tf
import time
print("ready", flush=True)
while True: time.sleep(3600)
"""
WORKING = """
import sys, time
from pathlib import Path
from exphil_tf.foundation.errors import run
def main(argv):
    try:
        print("ready", flush=True)
        while True: time.sleep(3600)
    finally:
        Path(argv[0]).write_text("tidied")
        if argv[1:] == ["slow"]:
            print("tidying", flush=True)
            while True: time.sleep(3600)
run(main)
"""
SWALLOWED = """
from exphil_tf.foundation.errors import run
import time
def main(argv):
    try:
        print("ready", flush=True)
        while True: time.sleep(3600)
    except BaseException as error:
        raise ImportError("a C extension could not be loaded") from None
run(main)
"""
ENDED = """
import sys, time, threading
sys.argv = ["-m"]
import exphil_tf
from exphil_tf.foundation.errors import run
def linger():
    while True: time.sleep(3600)
def main(argv):
    threading.Thread(target=linger).start()
    return 7
import exphil_tf.process.signals as signals
plain = signals.ended
def ended(code):
    plain(code)
    print("ready", flush=True)
signals.ended = ended
run(main, [])
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGHUP: 75}


@pytest.fixture
def start(project_root):
    started = []

    def start(code, *argv, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, argv)],
            cwd=project_root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", CODES)
def test_while_it_imports(start, number):
    process = start(EARLY)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == CODES[number]
    assert error.startswith("error: SIG")
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", CODES)
def test_while_it_works(start, number, tmp_path):
    process = start(WORKING, tmp_path / "note")
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == CODES[number]
    assert error.startswith("error: interrupted")
    assert error.count("\n") == 1
    assert (tmp_path / "note").read_text() == "tidied"


def test_the_second_one_ends_it_at_once(start, tmp_path):
    process = start(WORKING, tmp_path / "note", "slow")
    process.send_signal(signal.SIGTERM)
    assert "tidying\n" in iter(process.stdout.readline, "")
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 75
    assert "stopped at once" in error


def test_a_library_that_makes_another_error_of_it(start):
    process = start(SWALLOWED)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 75
    assert "internal" not in error


def test_after_the_work_it_changes_no_code(start):
    process = start(ENDED)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 7


def test_nohup_is_respected(start, tmp_path):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(WORKING, tmp_path / "note", preexec_fn=nohup)
    process.send_signal(signal.SIGHUP)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 75


def test_a_library_user_keeps_their_handlers(project_root):
    code = (
        "import signal, exphil_tf, exphil_tf.foundation.errors\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project_root, check=True)


def test_the_guides_loop(tmp_path, project_root):
    """Goes on as long as the command ends with 75, and no longer."""
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from exphil_tf.foundation.errors import run\n"
        "def main(argv):\n"
        "    count = int(Path('n').read_text()) + 1 if Path('n').exists() else 1\n"
        "    Path('n').write_text(str(count))\n"
        "    if count < 4: os.kill(os.getpid(), [signal.SIGTERM, signal.SIGHUP][count % 2])\n"
        "run(main)\n"
    )
    loop = 'until "$@"; [ $? -ne 75 ]; do :; done'
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    command = ["bash", "-c", loop, "bash", sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "n").read_text() == "4"
