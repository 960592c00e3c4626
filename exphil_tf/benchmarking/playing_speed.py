"""Learning by playing: frames a second end to end, and which part of an update takes the time.

Networks are new ones: what they answer does not matter to their cost. The bound is the time of an
update's matrix products alone (see `training_speed`): those of all answers, of reading what was
played, of every pass over it and of the look back.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from exphil_tf.benchmarking import host
from exphil_tf.benchmarking.benchmark_config import PlayingSpeedConfig
from exphil_tf.benchmarking.matrix_products import Product, floor, products
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.benchmarking.timing import cpu_seconds
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.features.delay import Delay
from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.config import load
from exphil_tf.rl.ppo_setup import PlayingSetup, playing_setup
from exphil_tf.training.ppo_config import PpoConfig
from models.backbones import backbone_config
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

NETWORKS = {
    "mamba 2 × 256": {"backbone": "mamba", "hidden": (256, 256), "num_layers": 2},
    "lstm 128": {"backbone": "lstm", "hidden": (128,), "num_layers": 1},
    "tx_like 2 × 64": {"backbone": "tx_like", "hidden": (64, 64), "num_layers": 2},
}
_WARM_UP = 2
_ROUNDS = 3
_DELAY = Delay(0, 0, 60)
_GAME = "simulator", "observations", "inputs", "rewards"
"""Parts of the stopwatch that are the game's."""


def run(config: PlayingSpeedConfig, console: Console) -> None:
    """Measures, prints and writes."""
    networks = config.networks or tuple(NETWORKS)
    rows: dict[str, dict[str, float]] = defaultdict(dict)
    for name in networks:
        with console.status(f"{name}: compiling and playing"):
            for figure, value in measure(name, config).items():
                rows[figure][name] = value
    notes = (
        f"{config.num_games} games against scripts, {config.rollout} frames an update.",
        "Floor: an update's matrix products alone; its share says how much of an update they are.",
    )
    report = Report("Learning by playing", networks, dict(rows), notes)
    console.print(report.table())
    facts = {**report.to_dict(), "machine": host.describe()}
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(config.output, [(json.dumps(facts, indent=1) + "\n").encode()])
    console.print(f"Written to {config.output}", markup=False)


def measure(name: str, config: PlayingSpeedConfig) -> dict[str, float]:
    """Figures of a network of `NETWORKS`, by name."""
    with _setup(name, config) as setup:
        for step in range(_WARM_UP):
            setup.ppo.update(setup.rollouts, step=step)
        setup.ppo.take_report()
        frames, parts = 0.0, Counter[str]()
        began, cpu = time.perf_counter(), time.process_time()
        for step in range(config.updates):
            setup.ppo.update(setup.rollouts, step=_WARM_UP + step)
            report = setup.ppo.take_report()
            frames += report.frames
            parts.update(report.values["cpu_s"])
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        bound = cpu_seconds({"floor": floor(_products(setup))}, rounds=_ROUNDS)["floor"]
        parameters = setup.ppo.policy.count_params()
    return {
        "frames/s": frames / wall,
        "frames/CPU-s": frames / cpu,
        "answers, %": 100 * parts["policy"] / cpu,
        "learner, %": 100 * parts["learner"] / cpu,
        "game, %": 100 * sum(parts[one] for one in _GAME) / cpu,
        "of it simulator, %": 100 * parts["simulator"] / cpu,
        "learner's frames/CPU-s": frames / parts["learner"],
        "CPU ms an update": 1e3 * cpu / config.updates,
        "floor, CPU ms": 1e3 * bound,
        "share of floor": bound * config.updates / cpu,
        "parameters": parameters,
    }


@contextmanager
def _setup(name: str, config: PlayingSpeedConfig) -> Iterator[PlayingSetup]:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "policy"
        network = PolicyConfig(EmbeddingConfig(), backbone_config(**NETWORKS[name]), HeadConfig())
        save_policy(bundle, Policy(network, seed=0), PolicyInfo(network, _DELAY))
        argv = ["--pretrained", str(bundle), "--value-burn-in", "0", "--seed", "0"]
        argv += ["--num-games", str(config.num_games), "--rollout", str(config.rollout)]
        argv += ["--opponent", "script:spacer", "script:aggressor", "script:punisher"]
        argv += shlex.split(config.ppo_options)
        playing = load(PpoConfig, argv, prog="benchmark playing")
        with playing_setup(playing, Path(folder)) as setup:
            yield setup


def _products(setup: PlayingSetup) -> Counter[Product]:
    """Of an update: its answers, and what is learnt from them."""
    found = Counter[Product]()
    answers = setup.rollouts.learner.graph(), setup.rollouts.options.length
    for graph, times in (answers, *setup.ppo.graphs(next(setup.rollouts))):
        for product, count in products(graph).items():
            found[product] += count * times
    return found
