"""A run on the terminal: a live line where there is a terminal, plain lines where there is none."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 10.0


class ConsoleSink:
    """Prints progress.

    Args:
      total_steps: of the run.
      verbosity: 0 prints validation and the end only, 1 progress too, 2 every event.
      console: where to; rich honours NO_COLOR and sees whether it is a terminal.
    """

    def __init__(self, total_steps: int, *, verbosity: int = 1, console: Console | None = None):
        self.console = console or Console(stderr=False, highlight=False)
        self.verbosity = verbosity
        self.total_steps = total_steps
        self._last_line_s = -PLAIN_INTERVAL_S
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if self.console.is_terminal and verbosity:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._task = self._progress.add_task("compiling", total=total_steps)
            self._progress.start()

    def write(self, event: Mapping[str, Any]) -> None:
        """Shows one event."""
        kind = event["event"]
        if kind == "train":
            self._train(event)
        elif kind in ("validation", "note", "end") or self.verbosity > 1:
            self._print(_SENTENCES.get(kind, _other)(event))

    def close(self) -> None:
        """Takes the live line away."""
        if self._progress is not None:
            self._progress.stop()

    def _train(self, event: Mapping[str, Any]) -> None:
        line = (
            f"step {event['step']}/{self.total_steps} epoch {event['epoch']:.2f} "
            f"nll {event['nll_total']:.4f} lr {event['lr']:.2e} "
            f"{event['frames_per_s']:,.0f} frames/s input wait {event['input_wait']:.1%}"
        )
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=event["step"], description=line)
        elif self.verbosity > 1 or (
            self.verbosity and time.monotonic() - self._last_line_s >= PLAIN_INTERVAL_S
        ):
            self._last_line_s = time.monotonic()
            self._print(line)

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False)


def _validation(event: Mapping[str, Any]) -> str:
    heads = " ".join(f"{name} {value:.3f}" for name, value in event["nll"].items())
    best = " (best)" if event["is_best"] else ""
    unrounded = event.get("nll_total_float")
    beside = "" if unrounded is None else f" (unrounded {unrounded:.4f})"
    total = f"{event['nll_total']:.4f}{beside}{best}"
    return f"step {event['step']} {event['split']} nll {total}: {heads}"


def _note(event: Mapping[str, Any]) -> str:
    return str(event["text"])


def _end(event: Mapping[str, Any]) -> str:
    metric = "none" if event["best"] is None else f"{event['best']:.4f}"
    is_validated = event["best_on"] == "validation"
    what = "best nll" if is_validated else "not validated, lowest training nll"
    return (
        f"{event['reason']} at step {event['step']}: {what} {metric}, "
        f"{event['seconds']:.0f} s, weights sha256 {event['weights_sha256']}"
    )


def _other(event: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in event.items() if not isinstance(value, dict))


_SENTENCES = {"validation": _validation, "note": _note, "end": _end}


@contextlib.contextmanager
def progress(
    console: Console, total: int, done: str, *, what: str = "frames"
) -> Iterator[Callable[[int], None]]:
    """Yields what to tell the count so far: a bar on a terminal, now and then a line elsewhere.

    Args:
      console: where to.
      total: the count expected; 0 if it is unknown.
      done: what happened to them, such as `measured`.
      what: is counted.
    """
    if console.is_terminal:
        columns = (TextColumn(done), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(done, total=total or None)
            yield lambda count: bar.update(task, completed=count)
        return
    shown = time.monotonic()

    def line(count: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_INTERVAL_S:
            shown = time.monotonic()
            console.print(f"{done} {count:,} of about {total:,} {what}", markup=False)

    yield line
