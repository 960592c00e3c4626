"""Whatever becomes of what is printed, the work goes on and ends with its own exit code."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exphil_tf.process import output
from exphil_tf.process.output import BACKLOG_BYTES, Channel, SafeText

WORK = """
import contextlib, os, sys
from pathlib import Path
from exphil_tf.foundation.errors import run
def main(argv):
    product = open(argv[0], "w")
    for i in range(int(argv[1])):
        print("line", i, argv[2])
        print("warning", i, argv[2], file=sys.stderr)
    with contextlib.suppress(OSError):
        os.write(2, b"a library's own line")
    product.write("done")
    product.close()
    return 3
run(main)
"""


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError as error:
            assert error.errno == errno.EBADF


def drain(reader: int) -> bytes:
    parts = []
    while part := os.read(reader, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_a_stuck_reader_gets_what_waits_and_is_told_what_was_left_out(pipe, monkeypatch):
    monkeypatch.setattr(output, "STALL_S", 0.01)
    reader, writer = pipe
    channel = Channel(writer)
    lines = [f"{i:06d}".encode() * 20 + b"\n" for i in range(20_000)]
    for line in lines:
        channel.write(line)
    channel.finish()  # gives up
    monkeypatch.undo()
    collected: list[bytes] = []
    thread = threading.Thread(target=lambda: collected.append(drain(reader)))
    thread.start()
    channel.finish()
    channel.write(b"last\n")
    channel.finish()
    os.close(writer)
    os.close(channel._fd)
    thread.join()
    got = collected[0].splitlines(keepends=True)
    note = [line for line in got if b"lines left out" in line]
    assert got[-1] == b"last\n"
    assert len(note) == 1
    kept = got[: -1 - len(note)]
    assert kept == lines[: len(kept)]
    assert f"({len(lines) - len(kept)} lines".encode() in note[0]
    assert len(b"".join(kept)) <= BACKLOG_BYTES + (1 << 20)


def test_a_patient_channel_leaves_nothing_out(pipe):
    reader, writer = pipe
    channel = Channel(writer, is_patient=True)
    text = b"x" * 99 + b"\n"

    def write():
        for _ in range(30_000):
            channel.write(text)
        channel.finish()
        os.close(writer)
        os.close(channel._fd)

    thread = threading.Thread(target=write)
    thread.start()
    assert drain(reader) == text * 30_000
    thread.join()


@pytest.mark.parametrize("kind", ["gone", "full", "closed", "read-only"])
def test_a_channel_to_nowhere(kind, pipe):
    reader, writer = pipe
    if kind == "gone":
        os.close(reader)
    elif kind == "closed":
        os.close(writer)
    elif kind == "full":
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full here")
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer)
    channel = Channel(reader if kind == "read-only" else writer)
    for _ in range(3):
        channel.write(b"text\n" * 1000)
    channel.finish()
    assert not channel._backlog


@given(
    text=st.text(st.characters(codec=None, exclude_categories=())),
    encoding=st.sampled_from(["ascii", "utf-8", "latin-1", "cp932"]),
)
def test_every_text_can_be_printed(text, encoding):
    raw = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(raw, "w", encoding=encoding) as stream:
        safe = SafeText(stream)
        assert safe.write(text) == len(text)
        safe.flush()
    safe.write("after it was closed")
    safe.flush()
    assert SafeText(None).write(text) == len(text)


def script(redirect: str) -> str:
    return f'"$@" {redirect}\necho "code $?" >&9\n'


@pytest.mark.parametrize(
    "redirect",
    [
        "| true",
        "2>&1 | head -n 1 >/dev/null",
        ">/dev/full",
        ">/dev/full 2>&1",
        ">&-",
        "2>&-",
        ">&- 2>&- <&-",
        ">/dev/null 2>&1",
        "> >(sleep 0) 2> >(true)",
    ],
)
@pytest.mark.parametrize("word", ["plain", "\udcff\u2028é漢"])
def test_the_work_ends_with_its_own_code(redirect, word, tmp_path, project_root):
    if "/dev/full" in redirect and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    product = tmp_path / "product"
    command = f"set -o pipefail\n{script(redirect)}"
    arguments = [sys.executable, "-c", WORK, str(product), "2000", word]
    with (tmp_path / "code").open("w") as code:
        subprocess.run(
            ["bash", "-c", f"exec 9>&{code.fileno()}\n{command}", "bash", *arguments],
            cwd=project_root,
            env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            pass_fds=[code.fileno()],
            check=True,
        )
    assert (tmp_path / "code").read_text() == "code 3\n"
    assert product.read_text() == "done"


def test_a_reader_who_stops_reading_stops_nothing(tmp_path, project_root):
    """Nobody ever reads the pipe, which is far smaller than what is printed."""
    product = tmp_path / "product"
    source = WORK.replace("run(main)", "output.STALL_S = 0.01\nrun(main)")
    source = source.replace("os.write", "print")  # a library's own line would wait
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from exphil_tf.process import output\n{source}",
            str(product),
            "20000",
            "x" * 100,
        ],
        cwd=project_root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.wait() == 3
    assert product.read_text() == "done"
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stderr.close()


def test_a_broken_pipe_inside_the_work_is_a_failure(capsys):
    from exphil_tf.foundation.errors import run
    from exphil_tf.process.exit_codes import EXIT_IO

    def main(argv):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(SystemExit) as stop:
        run(main, [])
    assert stop.value.code == EXIT_IO
    assert "a process that works for this one has ended" in capsys.readouterr().err
