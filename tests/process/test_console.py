"""Progress is a bar on a terminal, and a line now and then elsewhere."""

import io

from rich.console import Console

from exphil_tf.process.console import command, now_and_then, progress, progress_bar


def test_lines_come_after_intervals():
    now_s, due = 0.0, []
    is_due = now_and_then(10.0, clock=lambda: now_s)
    for now_s in (1.0, 9.9, 10.0, 19.0, 31.0, 40.9, 41.0):  # noqa: B007 - the clock reads it
        due.append(is_due())
    assert due == [False, False, True, False, True, False, True]


def test_a_bar_on_a_terminal_goes_when_it_ends():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80)
    with progress(console, 100, "measured") as on_frames:
        on_frames(50)
    assert "measured" in text.getvalue() and "50 of about" not in text.getvalue()


def test_elsewhere_nothing_is_drawn():
    text = io.StringIO()
    with progress(Console(file=text, width=80), 100, "measured") as on_frames:
        on_frames(50)
    assert not text.getvalue()  # no interval has passed


def test_a_bar_shows_its_tasks():
    text = io.StringIO()
    with progress_bar(Console(file=text, force_terminal=True, width=80)) as bar:
        bar.add_task("reading", total=3)
    assert "reading" in text.getvalue()


def test_a_command_is_quoted_where_a_shell_needs_it():
    assert command("python -m x", "a b", 1) == "python -m x 'a b' 1"
