"""What follows the end of a run: its last copy, what it cost, a command, the machine's stop."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.cloud import pods
from exphil_tf.foundation.errors import UserError, remark
from exphil_tf.process.console import command
from exphil_tf.process.exit_codes import EXIT_INTERNAL, EXIT_OK
from exphil_tf.training import goodput
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.run_sync import FINISHED_S, INTERRUPTED_S, RunSync
from exphil_tf.training.webhook import VARIABLE, Webhook

if TYPE_CHECKING:
    from exphil_tf.training.loop import Outcome


@dataclass
class RunEnd:
    """What follows the end of a run, however it ends."""

    cloud: CloudConfig
    run_dir: Path
    sync: RunSync | None
    environ: Mapping[str, str] = field(repr=False)
    outcome: Outcome | None = None
    """How it ended; None for a run that failed."""
    _has_begun: bool = False

    def begin(self) -> None:
        """The run's options are in its folder: it is copied from now on."""
        self._has_begun = True
        if self.sync is not None:
            self.sync.start()

    def sinks(self) -> list[Any]:
        """What is to be told of the run's events."""
        found: list[Any] = [] if self.sync is None else [self.sync]
        if self.environ.get(VARIABLE):
            try:
                found.append(Webhook(self.environ[VARIABLE], self.run_dir.name))
            except ValueError as error:
                remark(f"{error}; training goes on without it")
        return found

    @contextlib.contextmanager
    def following(self, console: Console | None) -> Iterator[None]:
        """Within is the run; what follows comes after it, unless it never began."""
        code = EXIT_OK
        try:
            yield
        except KeyboardInterrupt:
            self._has_begun = False
            raise
        except BaseException as error:
            code = getattr(error, "exit_code", EXIT_INTERNAL)
            raise
        finally:
            if self._has_begun:
                self._follow(console, code)

    def _follow(self, console: Console | None, code: int) -> None:
        outcome = self.outcome
        is_interrupted = outcome is not None and outcome.reason == "interrupted"
        seconds = self._copy(INTERRUPTED_S if is_interrupted else FINISHED_S, console)
        if outcome is not None and console is not None:
            spent = dict(outcome.spent)
            spent[goodput.SYNC] = spent.get(goodput.SYNC, 0.0) + seconds
            console.print(goodput.sentence(spent, price=self.cloud.price), markup=False)
        if not is_interrupted:
            self._run_command("failed" if outcome is None else outcome.reason, code)
            self._stop_pod()

    def _copy(self, limit_s: float, console: Console | None) -> float:
        """Copies the run a last time; returns the seconds that it took."""
        if self.sync is None:
            return 0.0
        began = time.monotonic()
        if console is not None:
            console.print(f"--sync: the last copy, to {self.cloud.sync} …", markup=False)
        if not self.sync.finish(limit_s):
            there = f"{self.cloud.sync}/{self.run_dir.resolve().name}"
            later = command("python -m exphil_tf.sync up", self.run_dir, there)
            remark(f"--sync: the copy is not complete: {self.sync.error}. Later: {later}")
        return time.monotonic() - began

    def _run_command(self, reason: str, code: int) -> None:
        """Runs the command that was asked for; what becomes of it changes nothing."""
        words = self.cloud.exit_words
        if not words:
            return
        told = {"RUN_DIR": str(self.run_dir), "RUN_REASON": reason, "RUN_EXIT_CODE": str(code)}
        try:
            ended = subprocess.run(words, env={**os.environ, **told}, check=False)
        except OSError as error:
            remark(f"--on-exit: {words[0]}: {error.strerror}")
            return
        if ended.returncode:
            remark(f"--on-exit: {words[0]} ended with {ended.returncode}")

    def _stop_pod(self) -> None:
        """Stops the machine if that was asked for, and nothing would be lost with it."""
        if self.cloud.stop_pod == "none":
            return
        if self.sync is not None and self.sync.error is not None:
            remark("--stop-pod: the machine goes on, as the copy is not complete")
            return
        try:
            pods.stop(self.cloud.stop_pod, self.environ)
        except UserError as error:
            remark(str(error))
