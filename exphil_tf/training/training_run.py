"""A run from its options to its results: holds the folder, says what the run is, trains, reports.

Free of TensorFlow until the learner is made: that a folder holds another run is answered at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exphil_tf.checkpoints import lock
from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.cloud import pods
from exphil_tf.cloud.address import open_store, parse, require_apart
from exphil_tf.foundation import atomic
from exphil_tf.foundation.command_help import is_secret
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.process.console import command
from exphil_tf.process.exit_codes import EXIT_INTERRUPTED
from exphil_tf.training import goodput, run_folder
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.interrupts import Interrupts
from exphil_tf.training.metric import selecting
from exphil_tf.training.registry import Registry, entry_of
from exphil_tf.training.run_config import RunConfig, StoppingConfig
from exphil_tf.training.run_end import RunEnd
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_sync import RunSync, StoredRun

if TYPE_CHECKING:
    from exphil_tf.training.learner_run import LearnerSetup
    from exphil_tf.training.loop import Outcome

_log = logging.getLogger(__name__)
MakeSetup = Callable[[], AbstractContextManager["LearnerSetup[Any]"]]
"""Makes the learner and its data; layers are made inside the block only (`training.numerics`)."""


@dataclass(frozen=True)
class TrainingRun:
    """What a run is, whatever it learns."""

    location: RunLocation
    run: RunConfig
    stopping: StoppingConfig
    options_yaml: str
    """Resolved options (`config.dump_yaml`), which repeat the run."""
    facts: Mapping[str, Any]
    """Provenance (`checkpoints.provenance.describe_run`), and by content what is learnt from
    besides a dataset, under the names in `sources`: a run that goes on must find them the same."""
    cloud: CloudConfig = field(default_factory=CloudConfig)
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Of the process: keys of stores, providers and the webhook."""

    def train(self, make_setup: MakeSetup, console: Console | None = None) -> Outcome:
        """Trains in the run's folder, which is held meanwhile.

        Raises: UserError: if the folder is in use or holds another run, or training diverged.
        """
        run_dir = self.location.run_dir
        self._check_pod()
        with lock.hold(run_dir):
            self._claim(console)
            facts = self._facts()
            end = RunEnd(self.cloud, run_dir, self._open_sync(facts), self.environ)
            with end.following(console):
                # Up to Interrupts there is nothing to save, and a signal simply ends the command.
                with make_setup() as setup, Interrupts() as interrupts:
                    run_folder.save_options(run_dir, self.options_yaml)
                    atomic.write_json(run_dir / run_folder.CONFIG_JSON, facts)
                    end.begin()
                    outcome = self._run(setup, interrupts, end, facts=facts, console=console)
                    if outcome.reason != "interrupted":
                        facts["results"] = self._results(outcome, setup)
                        atomic.write_json(run_dir / run_folder.CONFIG_JSON, facts)
                        self._register(facts)
                end.outcome = outcome
        return outcome

    def _check_pod(self) -> None:
        """Refuses what would fail only after hours, or write a key into the run's record."""
        if self.cloud.stop_pod != "none":
            pods.check(self.cloud.stop_pod, self.environ)
        told = self.cloud.on_exit or ""
        for name, value in self.environ.items():
            if is_secret(name.lower()) and len(value) >= 8 and value in told:
                raise UserError(
                    f"--on-exit: holds the value of {name}, and a run records its options",
                    "Call a script that reads it from the environment.",
                )

    def _open_sync(self, facts: Mapping[str, Any]) -> RunSync | None:
        """What copies the run; a store that does not answer now may do so later."""
        if self.cloud.sync is None:
            return None
        name = self.location.run_dir.resolve().name
        require_apart(parse(self.cloud.sync).join(name), self.location.run_dir)
        store = open_store(parse(self.cloud.sync), self.environ)
        try:
            StoredRun(store, name).check_same(self.location.run_dir, facts)
        except OSError as error:
            _log.warning("--sync: %s; training begins, and it is tried again", error)
        return RunSync(self.location.run_dir, store, name)

    def _register(self, facts: Mapping[str, Any]) -> None:
        """Enters the policy into the registry, which a run never fails for."""
        run_dir = self.location.run_dir
        if not self.run.register or not (run_dir / run_folder.POLICY / WEIGHTS).is_file():
            return  # nobody asked, or what was learnt is no policy
        try:
            Registry(run_dir.resolve().parent).enter(entry_of(run_dir, facts))
        except (OSError, UserError) as error:
            _log.warning("%s: not entered into the registry: %s", run_dir, error)

    def report(self, outcome: Outcome, console: Console, *, prog: str) -> int:
        """Says how the run ended; returns the exit code."""
        if outcome.reason == "interrupted":
            console.print(
                f"interrupted at step {outcome.position.step}; checkpoint saved. "
                f"Go on: {command(prog, '--resume', self.location.run_dir)}",
            )
            return EXIT_INTERRUPTED
        console.print(f"policy: {self.location.run_dir / run_folder.POLICY}")
        return 0

    def _claim(self, console: Console | None) -> None:
        backup = run_folder.claim(
            self.location, overwrite=self.run.overwrite, backup_count=self.run.backup_count
        )
        if backup is not None and console is not None:
            console.print(f"note: --overwrite: the run that was here is now {backup}")

    def _facts(self) -> dict[str, Any]:
        facts = dict(self.facts)
        if not self.location.is_resuming:
            return facts
        saved = run_folder.saved_facts(self.location.run_dir)
        if saved:
            run_folder.check_same(self.location.run_dir, saved, facts)
        return facts | {"created": saved.get("created", facts["created"])}

    def _run(
        self,
        setup: LearnerSetup[Any],
        interrupts: Interrupts,
        end: RunEnd,
        *,
        facts: dict[str, Any],
        console: Console | None,
    ) -> Outcome:
        with quiet_import():
            from exphil_tf.training.learner_run import Beside, run_learner

        return run_learner(
            setup,
            self.location,
            interrupts,
            run=self.run,
            stopping=self.stopping,
            facts=facts,
            console=console,
            beside=Beside(end.sinks(), self.cloud.budget_s),
        )

    def _results(self, outcome: Outcome, setup: LearnerSetup[Any]) -> dict[str, object]:
        position, metric = outcome.position, selecting(setup.learner.metrics)
        run_dir, best = self.location.run_dir, position.progress.best
        is_validated = setup.validation is not None
        return {
            "reason": outcome.reason,
            "stopped_early": outcome.reason == "stopped early",
            "steps": position.step,
            "epochs_completed": setup.horizon.epoch_of(position.step),
            "frames": position.frames,
            _key(metric.best_name(is_validated=True)): best if is_validated else None,
            _key(metric.best_name(is_validated=False)): None if is_validated else best,
            "best_step": position.progress.best_step,
            "final_training_loss": outcome.training_loss,
            "total_time_seconds": outcome.seconds,
            "goodput": goodput.share(outcome.spent),
            "weights_sha256": outcome.weights_sha256,
            "checkpoint_path": str(run_dir / run_folder.CHECKPOINTS),
            "policy_path": str(run_dir / run_folder.POLICY),
        }


def _key(words: str) -> str:
    return words.replace(" ", "_")
