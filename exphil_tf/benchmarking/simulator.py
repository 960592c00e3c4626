"""How many frames of matches a core plays in a second, with all that a policy reads written."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from exphil_tf.benchmarking import host
from exphil_tf.benchmarking.benchmark_config import SimulatorConfig
from exphil_tf.foundation.atomic import write_file
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.observe import Layout
from exphil_tf.sim.opponents import SCRIPTS
from exphil_tf.sim.state import MATCH
from models.layers.embedding_layout import input_layout
from models.policy_config import EmbeddingConfig

_ROUNDS = 60
"""Short ones, in turns for each number of threads; the best counts, as others' work only slows."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
      first_frame_s: from the start to the first frame, compiled or from the cache.
      match_bytes: of a match.
      per_s: match-frames a second by the clock, by the number of threads.
      per_cpu_s: the same by processor time.
      gain: match-frames a second over those of the first number of threads in the same round, the
        median, by the number of threads.
      bare_per_cpu_s: of one thread, with scripts and rules alone: nothing observed.
    """

    first_frame_s: float
    match_bytes: int
    per_s: dict[int, float]
    per_cpu_s: dict[int, float]
    gain: dict[int, float]
    bare_per_cpu_s: float


def run(config: SimulatorConfig, console: Console) -> None:
    """Measures, prints and writes."""
    speed = measure(config)
    console.print(_table(speed))
    facts = {**asdict(speed), "matches": config.matches, "machine": host.describe()}
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(config.output, [(json.dumps(facts, indent=1) + "\n").encode()])
    console.print(f"Written to {config.output}", markup=False)


def measure(config: SimulatorConfig) -> Speed:
    """Plays matches of all characters, stages and scripts."""
    layout = Layout(*input_layout(EmbeddingConfig()))
    began = time.perf_counter()
    played = {threads: _environment(config, layout, threads) for threads in config.threads}
    bare = _environment(config, None, 1)
    for environment in (*played.values(), bare):
        environment.step_pads(environment.pads)
    first = time.perf_counter() - began
    found: dict[int, list[tuple[float, float]]] = {threads: [] for threads in played}
    alone: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        for threads, environment in played.items():
            found[threads].append(_rates(environment, config.frames))
        alone.append(_rates(bare, config.frames))
    first_clocks = [clock for clock, _ in found[config.threads[0]]]
    return Speed(
        first_frame_s=first,
        match_bytes=MATCH.itemsize,
        per_s={threads: max(clock for clock, _ in rates) for threads, rates in found.items()},
        per_cpu_s={threads: max(cpu for _, cpu in rates) for threads, rates in found.items()},
        gain={
            threads: statistics.median(
                clock / base for (clock, _), base in zip(rates, first_clocks, strict=True)
            )
            for threads, rates in found.items()
        },
        bare_per_cpu_s=max(cpu for _, cpu in alone),
    )


def _environment(config: SimulatorConfig, layout: Layout | None, threads: int) -> Environment:
    count, rng = config.matches, np.random.Generator(np.random.PCG64(config.seed))
    known = [int(one) for one in Character if one != Character.NANA]
    names = list(SCRIPTS)[1:]  # who stands still costs nothing
    environment = Environment(
        rng.choice(known, (count, 2)),
        [list(Stage)[at % len(Stage)] for at in range(count)],
        layout=layout,
        scripts=[(names[a], names[b]) for a, b in rng.integers(len(names), size=(count, 2))],
        threads=threads,
    )
    environment.reset(seeds=rng.integers(0, 1 << 62, count).astype(np.uint64))
    return environment


def _rates(environment: Environment, frames: int) -> tuple[float, float]:
    """Match-frames a second, by the clock and by processor time."""
    cpu, clock = time.process_time(), time.perf_counter()
    for _ in range(frames):
        done = environment.step_pads(environment.pads)["done"]
        if done.any():
            environment.reset(np.flatnonzero(done))
    frames *= len(environment)
    return frames / (time.perf_counter() - clock), frames / (time.process_time() - cpu)


def _table(speed: Speed) -> Table:
    rows: dict[str, Any] = {"until the first frame, s": f"{speed.first_frame_s:.1f}"}
    rows["bytes of a match"] = f"{speed.match_bytes:,}"
    for threads, rate in speed.per_s.items():
        rows[f"match-frames per second, {threads} thread{'s' * (threads > 1)}"] = f"{rate:,.0f}"
    for threads, rate in speed.per_cpu_s.items():
        rows[f"… of processor time, {threads} thread{'s' * (threads > 1)}"] = f"{rate:,.0f}"
    base, *others = speed.gain
    for threads in others:
        best = speed.per_s[threads] / speed.per_s[base]
        rows[f"threads, {threads} over {base}, the best of both"] = f"{best:.2f}"
        rows[f"threads, {threads} over {base}, the median round"] = f"{speed.gain[threads]:.2f}"
    rows["… with nothing observed"] = f"{speed.bare_per_cpu_s:,.0f}"
    table = Table("scripts play, a policy's inputs are written", "value")
    table.columns[1].justify = "right"
    for name, value in rows.items():
        table.add_row(name, value)
    return table
