"""Past versions of a policy as opponents: kept in the run's folder, drawn anew every so often.

A snapshot is a policy bundle, so it can be played, measured and exported as any other. Which ones
sit at the table is a function of the run's seed and place; a run that goes on takes the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exphil_tf.checkpoints import policy_bundle as bundles
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from models.policy import Policy

_NAME = re.compile(r"step-(\d{8})")


class Snapshots:
    """The pool, and the policies that play out of it.

    Args:
      folder: of the snapshots.
      policy: whose.
      info: what their bundles say.
      players: policies that get a snapshot's weights, of the same network.
      interval: updates between snapshots.
      history: how many of the newest are drawn from.
      seed: of the draws.
    """

    def __init__(
        self,
        folder: Path,
        policy: Policy,
        info: PolicyInfo,
        *,
        players: Sequence[Policy],
        interval: int,
        history: int,
        seed: int,
    ):
        self._folder, self._policy, self._info = folder, policy, info
        self._players, self._interval = tuple(players), interval
        self._history, self._seed = history, seed
        self._drawn = np.zeros(len(self._players), np.int64)

    def after(self, step: int) -> None:
        """Keeps the policy as it is after so many updates, if one is due, and draws anew."""
        if step % self._interval:
            return
        bundles.save_policy(self._folder / _name(step), self._policy, self._info)
        newest = step // self._interval
        oldest = max(0, newest + 1 - self._history)
        rng = np.random.Generator(np.random.PCG64([self._seed, step]))
        self._drawn = rng.integers(oldest, newest + 1, len(self._players)) * self._interval
        self._seat()

    def state(self) -> dict[str, np.ndarray]:
        """Steps of the snapshots that play."""
        return {"drawn": self._drawn}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`.

        Raises: UserError: (66) if a snapshot that plays is gone.
        """
        self._drawn = state["drawn"].copy()
        self._seat()

    def _seat(self) -> None:
        for player, step in zip(self._players, self._drawn, strict=True):
            folder = self._folder / _name(int(step))
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: this snapshot plays in the run, and is not there",
                    "Put it back, or start a new run.",
                    exit_code=EXIT_NO_INPUT,
                )
            bundles.start_from(player, folder)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def steps_in(folder: Path) -> list[int]:
    """Steps of the snapshots in a folder, in order."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("step-*"))
    return sorted(int(match[1]) for match in found if match)
