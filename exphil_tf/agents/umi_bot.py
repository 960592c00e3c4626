"""A policy in the live bot championship: any exported bundle as a `umi.Bot`.

The arena sends a batch of frames, each from a bot's own seat, keeps who plays where, and applies
the input delay itself: the answer to frame f is what is sent at once, and nothing waits here. What
the policy chose last is its previous action all the same, whether it has taken effect or not, as
in `agents.agent`. One that was trained with `--online-robust` is told the session's delay.

Memory is handed in and out with every batch (`initial_state`), so a game's row in a batch never
matters. Random numbers are a function of the session's seed and of the frame's own bytes: the same
game gets the same answers alone, in a batch, or played over again. An exception are exports that
round activations by what else is in the batch (int8-dynamic).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import umi
from umi.state import State

from exphil_tf.agents.umi_frames import UmiFrames
from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import Bundle, open_bundle
from exphil_tf.inference.session import session_options
from exphil_tf.melee.enums import ACTION_COUNT, zero_index_table
from exphil_tf.rewards.win_score import win_probability

ZERO_INDEX = "zero_index.json"
"""Beside the bundle: pairs of character and action whose frames count from 0."""
_BUTTONS, _STICKS = slice(0, 8), slice(8, 12)
_SHOULDER = 12
_GOLDEN, _MIX_1, _MIX_2 = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
_STATE, _NEW = "state.", "new."


class BundleBot(umi.Bot):
    """Plays an exported policy.

    A bot is a subclass with `name`, `bundle` and what else the arena reads in its body:
    `reports_win_prob` says that the bundle knows how probable a win is.
    """

    bundle: ClassVar[Path]
    """Folder of an exported policy."""
    temperature: ClassVar[float] = 1.0
    deterministic = False
    """It is, but saying so fails umi-conform 0.1.0, whose two runs show two different games."""
    pad = True

    def setup(self, session: umi.Session) -> None:
        """Opens the policy. Raises UserError: if it was not trained for the session's delay."""
        bundle = open_bundle(self.bundle)
        if bundle.config.form != "step" or bundle.config.batch_size is not None:
            raise UserError(
                f"{self.bundle}: want a step of any number of rows",
                "Export it with --form step and --batch-size 0.",
            )
        threads = int(os.environ.get("UMI_CORES") or os.environ.get("OMP_NUM_THREADS") or 1)
        self._session = bundle.session(session_options(threads=max(1, threads)))
        self._shapes = {
            p.name: (tuple(int(size) for size in p.shape[1:]), p.dtype)
            for p in bundle.config.inputs
        }
        self._outputs = [port.name for port in bundle.config.outputs]
        self._told = self._conditions(bundle, session.delay)
        self._win_weights = bundle.config.win_probability if self.reports_win_prob else None
        self._columns = bundle.config.columns
        self._seed = np.uint64(session.rng_seed & 0xFFFFFFFF)
        self._scratch = session.num_slots - 1
        self._frames = UmiFrames(session.num_slots, _zero_index(self.bundle.parent / ZERO_INDEX))

    def initial_state(self, n: int) -> State:
        """Zeros: no memory, the untouched controller."""
        return {
            name: np.zeros((n, *shape), dtype)
            for name, (shape, dtype) in self._shapes.items()
            if name.startswith(_STATE) or name == "prev_action"
        }

    def act(self, batch: umi.Batch, state: State = None) -> tuple[umi.Actions, State]:
        """Answers a batch."""
        frames = batch.frames
        columns = self._frames.read(frames, batch.slots, begins=batch.first)
        rows = len(frames)
        feeds = dict(state) | {
            "numbers": self._joined(columns, "numbers", np.float32),
            "ids": self._joined(columns, "ids", np.int32),
            "uniforms": uniforms(frames, self._shapes["uniforms"][0][0], self._seed),
            "temperature": np.full(rows, self.temperature, np.float32),
        }
        answers: list[Any] = list(self._session.run(self._outputs, feeds))
        found = dict(zip(self._outputs, answers, strict=True))
        after = {
            name: found["controller" if name == "prev_action" else _new(name)] for name in state
        }
        weights = self._win_weights
        return umi.Actions(
            ctrl=arena_controller(found["controller"]),
            win_prob=None if weights is None else win_probability(columns, weights),
        ), after

    def _conditions(self, bundle: Bundle, delay: int) -> dict[str, int]:
        conditions = bundle.config.told()
        return conditions.defaults() | conditions.ids(frame_delay=delay)

    def _joined(self, columns: dict[str, np.ndarray], kind: str, dtype: Any) -> np.ndarray:
        places = self._columns[kind]
        width = max((place["stop"] for place in places.values()), default=0)
        joined = np.empty((len(columns["frame"]), width), dtype)
        for name, place in places.items():
            if name in CONDITIONS:
                joined[:, place["start"]] = self._told[name]
            else:
                span = slice(place["start"], place["stop"])
                joined[:, span] = columns[name].reshape(len(joined), -1)
        return joined


def uniforms(frames: np.ndarray, count: int, seed: np.uint64) -> np.ndarray:
    """float32 `[batch, count]` in [0, 1), a function of the seed and of each frame's bytes.

    SplitMix64 over (seed, checksum, place).
    """
    keys = np.array([zlib.crc32(frame.tobytes()) for frame in frames], np.uint64)
    places = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = ((keys << np.uint64(32)) ^ seed)[:, None] + places * _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def arena_controller(controller: np.ndarray) -> np.ndarray:
    """float32 `[batch, 13]` as the arena takes it: sticks 0…1, shoulder, buttons.

    Args:
      controller: as `StepOutput.controller`.
    """
    sticks = controller[:, _STICKS] / 2 + np.float32(0.5)
    shoulder = controller[:, _SHOULDER : _SHOULDER + 1]
    return np.concatenate([sticks, shoulder, controller[:, _BUTTONS]], -1).astype(np.float32)


def _new(name: str) -> str:
    return _NEW + name.removeprefix(_STATE)


def _zero_index(path: Path) -> np.ndarray:
    """The table that came with a bot, or libmelee's own where there is none."""
    if not path.is_file():
        return zero_index_table()
    table = np.zeros((256, ACTION_COUNT), bool)
    for character, action in atomic.read_json(path):
        table[character, action] = True
    return table
