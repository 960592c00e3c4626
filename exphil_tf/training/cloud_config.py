"""Options of a run on a rented machine: where it is copied to, what it may cost, what ends it."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from exphil_tf.cloud.address import parse
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.foundation.values import Source
from exphil_tf.training.run_config import RunConfig

Run = TypeVar("Run", bound=RunConfig)
Pod = Literal["none", "runpod", "vast"]
SAVE_MINUTES = 1.0
"""Minutes between checkpoints of a run that is copied, unless others are asked for."""


@dataclass(frozen=True)
class CloudConfig:
    """What a rented machine asks for besides."""

    KIND: ClassVar = Kind.START

    sync: str | None = option(None, kind=Kind.PLACE)
    """Copy the run to ADDRESS/NAME after each checkpoint and at its end: b2:BUCKET/PREFIX, r2:…,
    s3:… or a folder. With --resume auto it is fetched from there first, where that is newer."""
    max_hours: float | None = None
    """End the run, resumable, once it has taken so many hours of all its machines."""
    max_cost: float | None = None
    """End the run, resumable, once it has cost so much; wants a price."""
    price: float | None = None
    """Of an hour of this machine, in any currency; the end of the run then tells what it cost."""
    on_exit: str | None = None
    """Command to run once the run has ended by itself (not by a signal), with RUN_DIR, RUN_REASON
    and RUN_EXIT_CODE in its environment. No shell reads it."""
    stop_pod: Pod = "none"
    """Stop this machine through its provider once the run has ended by itself: runpod
    (RUNPOD_API_KEY, RUNPOD_POD_ID) or vast (CONTAINER_API_KEY, CONTAINER_ID)."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name in ("max_hours", "max_cost", "price"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: want a positive number. Received: {value}")
        if self.sync is not None:
            parse(self.sync)
        if self.on_exit is not None:
            _words(self.on_exit)

    def check(self) -> None:
        """Refuses a bound that could not be kept.

        Raises: UserError: if there is one on costs and no price.
        """
        if self.max_cost is not None and self.price is None:
            raise UserError(
                "--max-cost: want the price of an hour too. Received: none",
                "Give --price, in the same currency.",
            )

    def frequent_saves(self, run: Run, *, given: Mapping[str, Source]) -> tuple[Run, list[str]]:
        """A run's options with a checkpoint a minute if it is copied, and a sentence about it.

        Args:
          run: its options.
          given: options that were asked for.
        """
        if self.sync is None or "save_every_minutes" in given:
            return run, []
        return dataclasses.replace(run, save_every_minutes=SAVE_MINUTES), [
            f"sync: a checkpoint every {SAVE_MINUTES:g} min is what at most is lost with the "
            "machine (--save-every-minutes)"
        ]

    @property
    def budget_s(self) -> float:
        """Seconds that the run may take of its machines."""
        hours = [self.max_hours] if self.max_hours is not None else []
        if self.max_cost is not None and self.price is not None:
            hours.append(self.max_cost / self.price)
        return 3600 * min(hours, default=math.inf)

    @property
    def ends_machine(self) -> bool:
        """Whether something follows the run's end that may end the machine."""
        return self.on_exit is not None or self.stop_pod != "none"

    @property
    def exit_words(self) -> list[str]:
        """The command at the end; empty for none."""
        return [] if self.on_exit is None else _words(self.on_exit)


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"on_exit: want a command: {error}") from error  # it may hold a key
    if not words:
        raise ValueError("on_exit: want a command. Received: an empty one")
    return words
