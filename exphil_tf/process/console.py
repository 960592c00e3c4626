"""How commands print: paths and sentences as they are, commands as a shell takes them, progress.

Progress is a bar where there is a terminal, and a line now and then where there is none.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

_WIDE = 160
LINE_INTERVAL_S = 10.0
"""Between two lines of progress."""


def make_console(
    *, width: int | None = None, soft_wrap: bool = True, quiet: bool = False
) -> Console:
    """A console that shows text as it is: `[a]` and `:b:` in a path are no markup.

    Args:
      width: in columns; None for that of the terminal.
      soft_wrap: whether the terminal breaks lines.
      quiet: print nothing.
    """
    return Console(
        highlight=False, soft_wrap=soft_wrap, markup=False, emoji=False, width=width, quiet=quiet
    )


def wide_console() -> Console:
    """A console for tables: as wide as the terminal, or wide enough where there is none."""
    console = make_console(soft_wrap=False)
    return console if console.is_terminal else make_console(width=_WIDE, soft_wrap=False)


def command(prog: str, *words: object) -> str:
    """A command to copy: arguments are quoted where a shell would take them apart.

    Args:
      prog: such as `python -m exphil_tf.train`.
      *words: its arguments.
    """
    return f"{prog} {shlex.join(map(str, words))}"


def progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A line of a task's description, a bar, `columns` and the time left; it goes when it ends."""
    shown = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    return Progress(*shown, console=console, transient=True)


def now_and_then(
    interval_s: float = LINE_INTERVAL_S, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[], bool]:
    """What to ask whether the next line is due; the first is after an interval."""
    last_s = clock()

    def is_due() -> bool:
        nonlocal last_s
        if clock() - last_s < interval_s:
            return False
        last_s = clock()
        return True

    return is_due


@contextlib.contextmanager
def progress(
    console: Console, total: int, done: str, *, what: str = "frames"
) -> Iterator[Callable[[int], None]]:
    """Yields what to tell the count so far.

    Args:
      console: where to.
      total: the count expected; 0 if it is unknown.
      done: what happened to them, such as `measured`.
      what: is counted.
    """
    if console.is_terminal:
        with progress_bar(console) as bar:
            task = bar.add_task(done, total=total or None)
            yield lambda count: bar.update(task, completed=count)
        return
    is_due = now_and_then()

    def line(count: int) -> None:
        if is_due():
            console.print(f"{done} {count:,} of about {total:,} {what}", markup=False)

    yield line
