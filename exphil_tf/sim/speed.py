"""How many frames of matches a core steps in a second."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.sim.observe import observe
from exphil_tf.sim.random_pads import RandomPads
from exphil_tf.sim.state import MATCH
from exphil_tf.sim.world import World

_PADS = 64
"""Frames of controllers that are made beforehand and used over and over."""


class Speed(NamedTuple):
    """What was measured.

    Attributes:
    compile_s: until the first frame, from a cold or a warm cache.
    per_cpu_s: match-frames a second of processor time, stepping alone.
    per_s: the same by the clock.
    observed_per_cpu_s: with the schema's columns made of every frame, in numpy.
    match_bytes: of a match.
    """

    compile_s: float
    per_cpu_s: float
    per_s: float
    observed_per_cpu_s: float
    match_bytes: int


def measure(matches: int, frames: int, *, threads: int, seed: int) -> Speed:
    """Steps matches of all characters and stages under random controllers."""
    rng = np.random.Generator(np.random.PCG64(seed))
    known = [int(one) for one in Character if one != Character.NANA]
    stages = [list(Stage)[at % len(Stage)] for at in range(matches)]
    world = World(rng.choice(known, (matches, 2)), stages, threads=threads)
    source = RandomPads(matches, seed)
    pads = [source.next() for _ in range(_PADS)]
    began = time.perf_counter()
    world.step(pads[0])
    compiled = time.perf_counter() - began
    cpu, clock = _run(world, pads, frames)
    observed, _ = _run(world, pads, max(1, frames // 20), looks=True)
    return Speed(
        compile_s=compiled,
        per_cpu_s=matches * frames / cpu,
        per_s=matches * frames / clock,
        observed_per_cpu_s=matches * max(1, frames // 20) / observed,
        match_bytes=MATCH.itemsize,
    )


def _run(world: World, pads: list[np.ndarray], frames: int, *, looks: bool = False) -> tuple:
    cpu, clock = time.process_time(), time.perf_counter()
    for frame in range(frames):
        world.step(pads[frame % len(pads)])
        if looks:
            observe(world.matches)
        over = world.is_over
        if over.any():
            world.reset(np.flatnonzero(over))
    return time.process_time() - cpu, time.perf_counter() - clock
