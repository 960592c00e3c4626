"""A run's checkpoints, each scored as it appears, from another process.

The run is only read: checkpoints are listed, unpacked elsewhere and may vanish meanwhile; the
process gives way to the run by a lower priority. Scores go to `watch.jsonl`, a line each. A
checkpoint is known by its content, so one that a resumed run has made again is scored again, and a
watch that is started again goes on where it was.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exphil_tf.checkpoints import provenance
from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.checkpoints.store import Checkpoint, CheckpointStore
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.policy_evaluation import compiled, input_config
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT
from exphil_tf.training import run_folder
from exphil_tf.training.dataset import Dataset, load_checked

if TYPE_CHECKING:
    from exphil_tf.checkpoints.policy_bundle import PolicyInfo
    from exphil_tf.evaluation.baselines import Baseline
    from exphil_tf.evaluation.results import PolicyMetrics
    from exphil_tf.training.dataset_split import DatasetSplit

LOG = "watch.jsonl"
NICENESS = 10
"""By how much the watching process gives way to others."""


@dataclass(frozen=True)
class Score:
    """A line of `watch.jsonl`."""

    time: str
    step: int
    checkpoint: str
    """sha256 of its checksum list."""
    nll: float
    """Nats per frame of the whole action."""
    components: dict[str, float]
    frames: int
    measured: dict[str, Any]
    """On what and how, plain values; only scores of equal ones compare."""


def watch(
    run: Path,
    data: Path,
    config: EvaluationConfig,
    *,
    output: Path | None,
    console: Console,
    sleep: Callable[[], None],
) -> list[Score]:
    """Scores checkpoints until the run ends.

    Args:
      run: folder of a run, which need not be there yet.
      data: folder of a dataset.
      config: on which frames, and how.
      output: folder of `watch.jsonl`; None for `evaluation/SPLIT` in the run's folder.
      console: where scores go.
      sleep: waits between two looks.

    Returns: the scores of this run on these frames, those of earlier watches among them.

    Raises: UserError: if the dataset is missing or damaged, or policy and dataset don't fit.
    """
    if (run / WEIGHTS).is_file():
        raise UserError(
            f"--watch: {run} is a policy bundle, which stays as it is",
            "Give the folder of a run, such as runs/NAME.",
        )
    dataset = Dataset(data, load_checked(data, console, splits={"train", config.split}))
    os.nice(NICENESS)
    log = (output or run / "evaluation" / config.split) / LOG
    make_scorer = functools.partial(_Scorer, dataset, config, console=console)
    watcher = _Watcher(run, make_scorer, log=log, console=console)
    try:
        while True:
            # Looked at first: what a run saved before its end is then among the checkpoints.
            facts = run_folder.read_json(run / run_folder.CONFIG_JSON)
            watcher.score_new()
            if facts.get("results") is not None:
                return watcher.scores
            watcher.tell_waiting()
            sleep()
    finally:
        if watcher.scores:
            console.print(table(watcher.scores))


def table(scores: list[Score]) -> Table:
    """Nats per frame, a row per checkpoint in order of step; the least of a column in bold."""
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("step", "whole action", *COMPONENTS):
        rows.add_column(name, justify="right", no_wrap=True)
    ordered = sorted(scores, key=lambda score: score.step)
    values = [(s.nll, *(s.components[name] for name in COMPONENTS)) for s in ordered]
    least = [min(column) for column in zip(*values, strict=True)]
    for score, row in zip(ordered, values, strict=True):
        pairs = zip(row, least, strict=True)
        rows.add_row(
            f"{score.step:,}", *(Text(f"{v:.4f}", "bold" if v == m else "") for v, m in pairs)
        )
    return rows


class _Watcher:
    """What was scored of a run, and how to score more.

    Args:
      run: its folder.
      make_scorer: of a run that exports such policies.
      log: path of `watch.jsonl`.
      console: where scores go.
    """

    def __init__(
        self,
        run: Path,
        make_scorer: Callable[[PolicyInfo], _Scorer],
        *,
        log: Path,
        console: Console,
    ):
        self.scores: list[Score] = []
        self._run, self._make_scorer = run, make_scorer
        self._log, self._console = log, console
        self._store = CheckpointStore(run / run_folder.CHECKPOINTS)
        self._scorer: _Scorer | None = None
        self._failed: set[str] = set()
        self._is_waiting = False

    def score_new(self) -> None:
        """Scores the checkpoints that are there and were not scored yet, the newest first."""
        for checkpoint in reversed(self._store.checkpoints()):
            digest = _digest(checkpoint)
            if digest is None or self._is_known(digest):
                continue
            scorer = self._fitting_scorer()
            if scorer is None or self._is_known(digest):  # by an earlier watch
                continue
            score = self._scored(scorer, checkpoint, digest)
            if score is not None:
                self._add(score)

    def _scored(self, scorer: _Scorer, checkpoint: Checkpoint, digest: str) -> Score | None:
        """None if the run removed or replaced it meanwhile, or it is damaged, which is told."""
        score, failure = None, ""
        try:
            score = scorer.score(checkpoint, digest)
        except (OSError, ValueError) as error:
            failure = str(error)
        if _digest(checkpoint) != digest:
            return None
        if score is None:
            self._failed.add(digest)
            self._console.print(f"note: not scored: {failure}")
        return score

    def _is_known(self, digest: str) -> bool:
        return digest in self._failed or any(digest == score.checkpoint for score in self.scores)

    def tell_waiting(self) -> None:
        """Says once that there is nothing to score yet."""
        if not self._is_waiting and not self.scores:
            self._console.print(f"waiting for a checkpoint and a first policy in {self._run}")
        self._is_waiting = True

    def _fitting_scorer(self) -> _Scorer | None:
        """The scorer of the run's network; None until the run has told which it is."""
        with quiet_import():
            from exphil_tf.checkpoints.policy_bundle import read_info

        try:
            info = read_info(self._run / run_folder.POLICY)
        except UserError as error:
            if error.exit_code in (EXIT_NO_INPUT, EXIT_DATA):
                return self._scorer  # not there yet, or just being replaced
            raise
        if self._scorer is None or not self._scorer.fits(info):
            self._scorer = self._make_scorer(info)
            self.scores = _read_log(self._log, self._scorer.measured)
        return self._scorer

    def _add(self, score: Score) -> None:
        is_best = all(score.nll < other.nll for other in self.scores)
        self.scores.append(score)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(score), allow_nan=False) + "\n")
        mark = ", the best so far" if is_best else ""
        self._console.print(f"step {score.step:,}: {score.nll:.4f} nats per frame{mark}")


def _digest(checkpoint: Checkpoint) -> str | None:
    """What a checkpoint is known by; None if it has gone."""
    try:
        return atomic.sha256(checkpoint.path / atomic.CHECKSUMS)
    except OSError:
        return None


def _read_log(path: Path, measured: Mapping[str, Any]) -> list[Score]:
    """Scores of an earlier watch that was of the same frames; lines that are cut off are left."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                score = Score(**json.loads(line))
            except (TypeError, ValueError):
                continue
            if score.measured == measured:
                found.append(score)
    return found


class _Scorer:
    """A network, compiled once, and the frames it is scored on.

    Args:
      dataset: which games.
      config: which split of it, and how it is read.
      info: of the run's policies.
      console: is told what the best baseline costs.
    """

    def __init__(
        self, dataset: Dataset, config: EvaluationConfig, info: PolicyInfo, *, console: Console
    ):
        from models.policy import Policy

        self._dataset, self._config, self._info = dataset, config, info
        self._console = console
        self._policy = Policy(info.config, name="policy")
        self._inputs = input_config(config, info, dataset.manifest)
        self._predict = compiled(self._policy, self._inputs, config)
        self._is_baseline_known = False

    def fits(self, info: PolicyInfo) -> bool:
        """Whether it is of a run that exports such policies."""
        there, here = (
            dataclasses.replace(one, provenance={}, players=None) for one in (info, self._info)
        )
        return there == here

    @property
    def measured(self) -> dict[str, Any]:
        """Of `Score`."""
        return {
            "manifest_sha256": provenance.manifest_sha256(self._dataset.manifest),
            "split": self._config.split,
            "limit_frames": self._config.limit_frames,
            "unroll_frames": self._inputs.window_size,
            "burn_in": self._inputs.burn_in,
            "carry_state": self._inputs.carry_state,
            "frame_delay": self._inputs.frame_delay,
            "weights": self._info.weights,
            "policy_sha256": hashlib.sha256(self._info.config.to_json().encode()).hexdigest(),
        }

    def score(self, checkpoint: Checkpoint, digest: str) -> Score:
        """Scores one checkpoint; raises as `read_policy`."""
        from exphil_tf.evaluation.measure import measure
        from exphil_tf.training.stored_policy import read_policy

        read_policy(checkpoint.path, self._policy, is_averaged=self._info.weights == "ema")
        baselines, chosen = self._baselines(), self._split(self._config.split)
        with chosen.named_errors():
            metrics, others = measure(
                chosen.batches(),
                self._predict,
                baselines,
                codec=self._policy.config.head.codec,
                max_frames=self._config.limit_frames,
            )
        self._tell_best(others)
        return Score(
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            step=checkpoint.step,
            checkpoint=digest,
            nll=metrics.nll,
            components={name: metrics.components[name].nll for name in COMPONENTS},
            frames=metrics.frames,
            measured=self.measured,
        )

    def _baselines(self) -> dict[str, Baseline]:
        """What the first checkpoint is compared with; nothing for later ones."""
        from exphil_tf.evaluation.measure import fit_baselines

        if self._is_baseline_known:
            return {}
        train, codec = self._split("train"), self._policy.config.head.codec
        with train.named_errors():
            fit = fit_baselines(train.batches(), codec, max_frames=self._config.baseline_frames)
        return fit.baselines()

    def _tell_best(self, baselines: Mapping[str, PolicyMetrics]) -> None:
        if baselines:
            self._is_baseline_known = True
            best = min(baselines, key=lambda name: baselines[name].nll)
            self._console.print(
                f"{best}, the best baseline: {baselines[best].nll:.4f} nats per frame"
            )

    def _split(self, split: str) -> DatasetSplit:
        from exphil_tf.training.dataset_split import DatasetSplit

        return DatasetSplit(
            self._dataset.manifest,
            self._dataset.folder,
            self._inputs,
            split=split,
            batch_size=self._config.batch_size,
            seed=0,
            is_training=False,
        )
