"""Every backbone trained alike and ranked: the subject `architectures` of the benchmark.

Each is trained in a process of its own (`architecture_training`), then measured and exported by the
commands that users run, and at last all exported forms are timed in turns. What is finished is
found again by its options and data, so an interrupted comparison goes on where it was.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from exphil_tf.benchmarking import architecture_report, frame_timing, host
from exphil_tf.benchmarking.architecture_report import (
    ArchitectureReport,
    Baseline,
    Failure,
    Latency,
    Row,
)
from exphil_tf.benchmarking.architecture_training import Job, Trained
from exphil_tf.benchmarking.benchmark_config import ArchitecturesConfig
from exphil_tf.benchmarking.frame_timing import Cell
from exphil_tf.checkpoints import provenance
from exphil_tf.evaluation import episodes
from exphil_tf.evaluation.results import COMPONENT_TITLES
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.process.exit_codes import EXIT_INTERNAL, EXIT_NO_INPUT
from exphil_tf.records.manifest import Manifest
from exphil_tf.training import run_folder
from exphil_tf.training.dataset import load_checked

TRAINING = "exphil_tf.benchmarking.architecture_training"
PRECISIONS = ("float32", "int8-static")
TRAINED, JOB, EVALUATION = "trained.json", "job.json", "evaluation/evaluation.json"
_PLAYED = 4
"""Perspectives that are played against the clock."""

RunModule = Callable[[str, Sequence[str]], tuple[int, str]]
"""Runs a module of this package in a process of its own: its exit code, and what it said on
stderr."""


def run_module(module: str, argv: Sequence[str]) -> tuple[int, str]:
    """See `RunModule`; how training goes is shown."""
    words = [sys.executable, "-m", module, *argv]
    shown = None if module == TRAINING else subprocess.DEVNULL
    done = subprocess.run(words, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


class _StageFailed(Exception):
    def __init__(self, failure: Failure):
        super().__init__(failure.text)
        self.failure = failure


def run(
    config: ArchitecturesConfig, console: Console, *, run_module: RunModule = run_module
) -> int:
    """Trains, measures, prints, writes the page; returns the exit code.

    Raises: UserError: if the dataset can't be used, or an architecture failed and that is not to be
      passed over.
    """
    config = config.scaled()
    manifest = load_checked(config.data, console, splits={"train", "validation"})
    if not manifest.frames("validation"):
        raise UserError(
            f"{config.data}: has no validation split to rank on",
            "Preprocess with --val-split.",
            exit_code=EXIT_NO_INPUT,
        )
    rows: list[Row] = []
    failures: list[Failure] = []
    for name in config.names:
        architecture = _Architecture(name, config, manifest, run_module, console)
        try:
            rows.append(architecture.measured())
        except _StageFailed as error:
            failures.append(error.failure)
            if not config.continue_on_error:
                break
            console.print(f"{name}: {error.failure.sentence}")
    if rows:
        _report(config, console, manifest=manifest, rows=rows, failures=failures)
    if failures and not config.continue_on_error:
        failure = failures[0]
        raise UserError(
            f"{failure.name}: {failure.sentence}",
            "Those before it are kept. Leave it out by --skip, or give --continue-on-error.",
            exit_code=failure.code,
        )
    return failures[0].code if failures else 0


def _report(
    config: ArchitecturesConfig,
    console: Console,
    *,
    manifest: Manifest,
    rows: list[Row],
    failures: list[Failure],
) -> None:
    before = host.load_average()
    with console.status("timing exported policies"):
        latencies = _latencies(config, rows)
    report = ArchitectureReport(
        machine=host.describe(),
        load=before,
        is_busy=before > host.BUSY * (host.describe()["cores"] or 1),
        options={n: _plain(v) for n, v in dataclasses.asdict(config).items()},
        manifest_sha256=provenance.manifest_sha256(manifest),
        git_commit=provenance.git_commit() or "unknown",
        rows=[dataclasses.replace(row, latency=latencies[row.name]) for row in rows],
        baselines=_baselines(config, rows[0].name),
        failures=failures,
    )
    architecture_report.show(console, report)
    for path in architecture_report.write(report, config.output):
        console.print(f"wrote {path}", markup=False)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _latencies(config: ArchitecturesConfig, rows: Sequence[Row]) -> dict[str, dict[str, Latency]]:
    """Of one row on one thread, all forms in turns."""
    bundles = {
        f"{row.name} {precision}": open_bundle(config.output / row.name / precision)
        for row in rows
        for precision in PRECISIONS
    }
    games = episodes.dataset_perspectives(config.data, "validation")
    perspectives = list(itertools.islice(games, _PLAYED))
    timings = frame_timing.measure(bundles, perspectives, num_frames=config.latency_frames)
    found: dict[str, dict[str, Latency]] = {}
    for row in rows:
        cells = {p: timings[Cell(f"{row.name} {p}", 1, 1)] for p in PRECISIONS}
        found[row.name] = {p: Latency(t.p50, t.p99, t.best_p50) for p, t in cells.items()}
    return found


def _evaluation(config: ArchitecturesConfig, name: str) -> dict[str, Any]:
    path = config.output / name / EVALUATION
    return json.loads(path.read_text(encoding="utf-8"))


def _baselines(config: ArchitecturesConfig, name: str) -> list[Baseline]:
    found = _evaluation(config, name)["baselines"]
    return [Baseline(n, values["nll"], _by_component(values)) for n, values in found.items()]


def _by_component(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: metrics["components"][name]["nll"] for name in COMPONENT_TITLES}


@dataclass(frozen=True)
class _Architecture:
    """One backbone, from its options to its figures."""

    name: str
    config: ArchitecturesConfig
    """As `scaled`."""
    manifest: Manifest
    run_module: RunModule
    console: Console

    @property
    def folder(self) -> Path:
        """Its run, exports and figures."""
        return self.config.output / self.name

    def measured(self) -> Row:
        """Does what is not done yet; the figures but for latency.

        Raises: _StageFailed: naming what failed.
        """
        self._prepare()
        if not (self.folder / TRAINED).is_file():
            self._train()
        if not (self.folder / EVALUATION).is_file():
            self._evaluate()
        for precision in PRECISIONS:
            if not (self.folder / precision / "config.json").is_file():
                self._export(precision)
        trained = Trained.from_dict(run_folder.read_json(self.folder / TRAINED))
        policy = _evaluation(self.config, self.name)["policy"]
        return Row(self.name, trained, policy["nll"], policy["frames"], _by_component(policy), {})

    def _job(self) -> Job:
        config = self.config
        return Job(
            backbone=self.name,
            data=str(config.data),
            run_dir=str(self.folder),
            train_options=config.train_options,
            parameters=config.parameters,
            cpu_seconds=config.cpu_seconds,
            updates=config.updates,
            points=config.points,
            curve_frames=config.curve_frames,
            seed=config.seed,
        )

    def _prepare(self) -> None:
        """Keeps what was made by the same options of the same data; makes place otherwise."""
        content = {
            **dataclasses.asdict(self._job()),
            "limit_frames": self.config.limit_frames,
            "manifest_sha256": provenance.manifest_sha256(self.manifest),
            "packages": provenance.package_versions(),
        }
        if run_folder.read_json(self.folder / JOB) == json.loads(json.dumps(content)):
            return
        (self.folder / TRAINED).unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(self.folder / JOB, content)

    def _train(self) -> None:
        made = (EVALUATION, *(f"{precision}/config.json" for precision in PRECISIONS))
        for name in made:  # of an earlier policy
            (self.folder / name).unlink(missing_ok=True)
        path = self.folder / "training.json"
        atomic.write_json(path, dataclasses.asdict(self._job()))
        self._do("training", TRAINING, path, self.folder / TRAINED)

    def _evaluate(self) -> None:
        limit = ("--limit-frames", self.config.limit_frames)
        output = ("--output", self.folder / "evaluation")
        words = (self.folder, "--data", self.config.data, *output, *limit)
        self._do("evaluation", "exphil_tf.evaluate", *words)

    def _export(self, precision: str) -> None:
        output = ("--output", self.folder / precision, "--precision", precision)
        words = (self.folder, "--data", self.config.data, *output, "--parity-frames", 0)
        self._do(f"export as {precision}", "exphil_tf.export", *words)

    def _do(self, stage: str, module: str, *argv: object) -> None:
        words = [str(word) for word in argv]
        self.console.print(f"{self.name}: {stage}")
        code, said = self.run_module(module, words)
        if code < 0:
            said, code = f"was ended by signal {-code}", EXIT_INTERNAL
        if code:
            lines = [line for line in said.splitlines() if line.strip()]
            text = lines[-1].removeprefix("error: ") if lines else "nothing was said"
            shown = shlex.join(["python", "-m", module, *words])
            raise _StageFailed(Failure(self.name, stage, code, text, shown))
