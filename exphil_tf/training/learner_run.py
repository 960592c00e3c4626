"""A learner in a run's folder: restored, run by the loop, told of, exported.

Nothing here knows what is learnt; `training.imitation_setup` makes what it is given.
"""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple

from rich.console import Console

from exphil_tf.checkpoints.provenance import PRIVATE
from exphil_tf.checkpoints.store import Checkpoint, CheckpointStore, open_checkpoint
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE, EXIT_NO_INPUT
from exphil_tf.training import run_folder
from exphil_tf.training.compile_cache import CompilationSink
from exphil_tf.training.console_sink import ConsoleSink
from exphil_tf.training.goodput import Account, last_sign_of_life
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.interrupts import Interrupts
from exphil_tf.training.learner import Batch, Learner, TrainingData
from exphil_tf.training.loop import Loop, LoopComponents, Outcome, Past
from exphil_tf.training.profiler import Profiler
from exphil_tf.training.run_config import RunConfig, StoppingConfig
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.state import Position, TrainState
from exphil_tf.training.telemetry import JsonLines, Sink, Telemetry, TensorBoard
from exphil_tf.training.wandb_sink import WandB

_log = logging.getLogger(__name__)


class Beside(NamedTuple):
    """What a run has to do with besides learning."""

    sinks: Sequence[Sink] = ()
    """What else is told of its events."""
    budget_s: float = math.inf
    """Seconds that it may take of its machines."""


@dataclass(frozen=True)
class LearnerSetup(Generic[Batch]):
    """A learner with what it learns from, ready to run."""

    learner: Learner[Batch]
    data: TrainingData[Batch]
    validation: TrainingData[Batch] | None
    """None where there is nothing to validate on."""
    horizon: Horizon
    start: Callable[[], Mapping[str, Any]]
    """Gives a new run its first weights; not called where a run goes on. Returns what `config.json`
    is to say of them."""
    export: Callable[[Path, Mapping[str, Any]], None]
    """Publishes what was learnt as a folder, with where it came from."""
    notes: Sequence[str] = field(default=(), kw_only=True)
    """Sentences about the run as a whole, told when it starts."""


def run_learner(
    setup: LearnerSetup[Batch],
    location: RunLocation,
    interrupts: Interrupts,
    *,
    run: RunConfig,
    stopping: StoppingConfig,
    facts: dict[str, Any],
    console: Console | None = None,
    beside: Beside = Beside(),  # noqa: B008 - a constant
) -> Outcome:
    """Trains to the end or until interrupted.

    Args:
      setup: what is trained.
      location: the run's folder, held and claimed.
      interrupts: entered.
      run: intervals, and what is kept.
      stopping: what the selecting metric decides.
      facts: provenance, `config` with the options among it; what `setup.start` tells is added.
      console: where progress goes.
      beside: what else is told of the run's events, and how long it may be.
    """
    batches = iter(setup.data.batches())
    state = TrainState(setup.learner.variables(), batches)
    store = CheckpointStore(
        location.run_dir / run_folder.CHECKPOINTS,
        keep_last=run.keep_last,
        keep_best=run.keep_best,
        attached={run_folder.RUN_JSON: facts},
    )
    store.sweep()
    atomic.sweep(location.run_dir)
    position, past, spent = _restore(location, store, state, facts=facts)
    folder = location.run_dir / run_folder.POLICY

    def export(position: Position) -> None:
        results = {"step": position.step, "progress": position.progress.to_dict()}
        told = {name: value for name, value in facts.items() if name not in PRIVATE}
        setup.export(folder, told | {"results": results})

    profiler = Profiler(location.run_dir / run_folder.TENSORBOARD) if run.profile else None
    own = _sinks(setup, location.run_dir, run=run, facts=facts, console=console)
    telemetry = Telemetry([*own, *beside.sinks])
    components = LoopComponents(
        learner=setup.learner,
        state=state,
        batches=batches,
        validation=None if setup.validation is None else setup.validation.batches(),
        store=store,
        telemetry=telemetry,
        interrupts=interrupts,
        export=export,
        on_update=profiler.saw_update if profiler else lambda: None,
        account=Account(spent, alive_s=last_sign_of_life(location.run_dir)),
        budget_s=beside.budget_s,
    )
    loop = Loop(components, run, stopping=stopping, horizon=setup.horizon)
    try:
        with _named_errors(setup):
            if position.step == 0:
                facts |= setup.start()
            telemetry.write("start", step=position.step, seed=run.seed)
            for text in setup.notes:
                telemetry.write("note", step=position.step, text=text)
            outcome = loop.run(position, past)
        if atomic.problems(folder):
            # None yet, or damaged: the best checkpoint's, or that of an interrupted run.
            best = None if outcome.reason == "interrupted" else store.best()
            if best is not None:
                state.read(best.path, with_data=False)
            export(outcome.position)
    finally:
        if profiler is not None:
            profiler.close()
        telemetry.close()
    return outcome


@contextlib.contextmanager
def _named_errors(setup: LearnerSetup[Any]) -> Iterator[None]:
    """Errors about damaged data name the file."""
    with contextlib.ExitStack() as stack:
        for data in (setup.data, setup.validation):
            if data is not None:
                stack.enter_context(data.named_errors())
        yield


def _sinks(
    setup: LearnerSetup[Any],
    run_dir: Path,
    *,
    run: RunConfig,
    facts: Mapping[str, Any],
    console: Console | None,
) -> list[Sink]:
    hparams = facts["config"]
    makers: list[Callable[[], Sink]] = [
        lambda: ConsoleSink(
            setup.horizon.total_steps,
            setup.learner.metrics,
            verbosity=run.verbosity,
            shows_spent=run.profile,
            console=console,
        ),
        lambda: JsonLines(run_dir / run_folder.LOG),
        lambda: TensorBoard(run_dir / run_folder.TENSORBOARD, hparams),
        lambda: CompilationSink(os.environ),
    ]
    if run.wandb:
        makers.append(
            lambda: WandB(
                run_dir,
                project=run.wandb_project,
                run_id=run_dir.name,
                name=run.wandb_name,
                hparams=hparams,
            )
        )
    return list(_made(makers))


def _made(makers: Iterable[Callable[[], Sink]]) -> Iterator[Sink]:
    for make in makers:
        try:
            yield make()
        except Exception as error:
            _log.warning("%s: %s; training goes on without it", type(error).__name__, error)


def _restore(
    location: RunLocation, store: CheckpointStore, state: TrainState, *, facts: dict[str, Any]
) -> tuple[Position, Past, object]:
    """Where the run stands, what its processes came to, and where their time went."""
    checkpoint = _checkpoint_of(location, store) if location.is_resuming else None
    if checkpoint is None:
        return Position(), Past(), None
    # Its own copy, as the run's files may have been changed together.
    started = run_folder.read_json(checkpoint.path / run_folder.RUN_JSON)
    run_folder.check_same(location.run_dir, started, facts)
    # What `LearnerSetup.start` told when the run was new.
    facts |= {name: value for name, value in started.items() if name not in facts}
    try:
        position = Position.from_dict(checkpoint.meta["position"])
        if position.step != checkpoint.step:
            raise ValueError(f"want position.step {checkpoint.step}. Received: {position.step}")
        state.read(checkpoint.path)
        past = Past.from_dict(checkpoint.meta.get("past"))
        return position, past, checkpoint.meta.get("goodput")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{checkpoint.path}: cannot be resumed: {error}",
            "Start a new run, or use the release that wrote it.",
            exit_code=EXIT_INCOMPATIBLE,
        ) from error


def _checkpoint_of(location: RunLocation, store: CheckpointStore) -> Checkpoint | None:
    if location.checkpoint is None:
        return store.latest(quarantine=True)
    try:
        return open_checkpoint(location.checkpoint)
    except ValueError as error:
        raise UserError(str(error), "Try --resume auto.", exit_code=EXIT_NO_INPUT) from error
