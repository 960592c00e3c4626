"""A run on the terminal: a live line where there is a terminal, plain lines where there is none."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from exphil_tf.process.console import progress_bar
from exphil_tf.training import spent
from exphil_tf.training.metric import Metric, selecting
from exphil_tf.training.run_summary import duration

_GIB = 1 << 30


class ConsoleSink:
    """Prints progress.

    Args:
      total_steps: of the run.
      metrics: of the learner; those with a label are shown.
      verbosity: 0 prints nothing, 1 progress, 2 every event, with times and gradient norms.
      shows_spent: whether the end tells where the time went.
      console: where to; rich honours NO_COLOR and sees whether it is a terminal.
    """

    def __init__(
        self,
        total_steps: int,
        metrics: Sequence[Metric],
        *,
        verbosity: int = 1,
        shows_spent: bool = False,
        console: Console | None = None,
    ):
        self.console = console or Console(stderr=False, highlight=False)
        self.verbosity = verbosity
        self.shows_spent = shows_spent
        self.total_steps = total_steps
        self._selecting = selecting(metrics)
        others = [metric for metric in metrics if metric.label and not metric.is_selecting]
        self._shown = [self._selecting, *others]
        self._sentences = {
            "start": lambda event: "compiling the first update …",
            "compiled": lambda event: f"compiled in {event['seconds']:.0f} s",
            "validation": self._validation,
            "note": lambda event: str(event["text"]),
            "end": self._end,
        }
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if self.console.is_terminal and verbosity:
            self._progress = progress_bar(self.console)
            self._task = self._progress.add_task("compiling", total=total_steps)
            self._progress.start()

    def write(self, event: Mapping[str, Any]) -> None:
        """Shows one event."""
        kind = event["event"]
        if not self.verbosity:
            return
        if kind == "train":
            self._train(event)
        elif kind in self._sentences:
            self._print(self._sentences[kind](event))
        elif self.verbosity > 1:
            self._print(_plain(event))
        if kind == "end" and self.shows_spent:
            self.console.print(spent.table(event["spent"]))

    def close(self) -> None:
        """Takes the live line away."""
        if self._progress is not None:
            self._progress.stop()

    def _train(self, event: Mapping[str, Any]) -> None:
        line = (
            f"step {event['step']}/{self.total_steps} epoch {event['epoch']:.2f} "
            + "".join(f"{text} " for text in self._numbers(event))
            + f"{event['frames_per_s']:,.0f} frames/s input wait {event['input_wait']:.1%}"
            + f" {duration(event['eta_s'])} left"
            + (_details(event) if self.verbosity > 1 else "")
        )
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=event["step"], description=line)
        else:
            self._print(line)
        if told := _memory(event):
            self._print(told)

    def _numbers(self, event: Mapping[str, Any]) -> list[str]:
        """Labels with their values, of metrics that are one number."""
        return [
            f"{metric.title} {metric.text(event[metric.name])}"
            for metric in self._shown
            if isinstance(event.get(metric.name), (int, float))
        ]

    def _components(self, event: Mapping[str, Any]) -> list[str]:
        """Components with their values, of metrics that are a number by component."""
        return [
            f"{name} {metric.text(value)}"
            for metric in self._shown
            if isinstance(event.get(metric.name), Mapping)
            for name, value in event[metric.name].items()
        ]

    def _validation(self, event: Mapping[str, Any]) -> str:
        first, *others = self._numbers(event)
        beside = f" ({', '.join(others)})" if others else ""
        best = " (best)" if event["is_best"] else ""
        components = self._components(event)
        end = f": {' '.join(components)}" if components else ""
        return f"step {event['step']} {event['split']} {first}{beside}{best}{end}"

    def _end(self, event: Mapping[str, Any]) -> str:
        metric, best = self._selecting, event["best"]
        is_validated = event["best_on"] == "validation"
        return (
            f"{event['reason']} at step {event['step']}: "
            f"{'' if is_validated else 'not validated, '}"
            f"{metric.best_name(is_validated=is_validated)} "
            f"{'none' if best is None else metric.text(best)}, "
            f"{event['seconds']:.0f} s, weights sha256 {event['weights_sha256']}"
        )

    def _print(self, line: str) -> None:
        self.console.print(f"[{time.strftime('%H:%M:%S')}] {line}", soft_wrap=True, markup=False)


def _details(event: Mapping[str, Any]) -> str:
    """Of an update: gradient, time, and how much of it waited for the input."""
    words = [f" {event['update_ms']:.1f} ms/update"] if "update_ms" in event else []
    if isinstance(event.get("grad_norm"), (int, float)):
        words.append(f" gradient norm {event['grad_norm']:.3f}")
    return "".join(words)


def _memory(event: Mapping[str, Any]) -> str:
    """What this process and the GPUs hold: `memory: 1.2 GiB; GPU 0: 18.2/24.0 GiB (76%)`."""
    words = []
    if "resident_bytes" in event:
        words.append(f"memory: {event['resident_bytes'] / _GIB:.1f} GiB")
    for name, held in event.get("gpu_bytes", {}).items():
        share = held["used"] / held["total"]
        used, total = held["used"] / _GIB, held["total"] / _GIB
        words.append(f"{name}: {used:.1f}/{total:.1f} GiB ({share:.0%})")
    return "; ".join(words)


def _plain(event: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in event.items() if not isinstance(value, dict))
