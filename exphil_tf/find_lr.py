"""Suggests a learning rate: `python -m exphil_tf.find_lr --data DATASET`.

Takes the options of `exphil_tf.train`, trains a fresh policy for some hundred updates while the
learning rate grows, and draws the losses (`training.lr_finder`). Makes and changes no run.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from beam_pipelines.cached_dataset import DatasetRequest, Unprocessed
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import PRESETS, load_given, to_dict
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.options import Option, options
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.foundation.values import Rank, Source
from exphil_tf.process.console import make_console
from exphil_tf.training import plan
from exphil_tf.training.batch_fit import with_batch_size
from exphil_tf.training.compile_cache import kept_compilations
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.lr_finder_config import FindLRConfig
from exphil_tf.training.run_options import with_seed
from exphil_tf.training.train_config import check_dataset, resolve

if TYPE_CHECKING:
    from exphil_tf.training.lr_finder import Sweep

PROG = "python -m exphil_tf.find_lr"
_USED = frozenset({
    "dry_run", "resume", "auto_batch_size", "auto_batch_max", "memory_budget_mb", "verbosity",
    "log_interval", "devices", "compile_cache",
})  # fmt: skip
"""Options about the keeping and showing of a run that a sweep goes by too."""


def main(argv: Sequence[str]) -> int:
    """Tries learning rates as the arguments say; returns the exit code."""
    loaded = load_given(FindLRConfig, argv, prog=PROG, presets=PRESETS)
    config, notes = resolve(loaded.config)
    if config.run.resume is not None:
        raise UserError(
            "--resume: a run that goes on keeps its learning rate", "Leave --resume out."
        )
    console = make_console()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    request = DatasetRequest(
        config.data, config.input, config.filters, config.splits, config.variants
    )
    dataset = request.open(console, environ=os.environ, dry_run=config.run.dry_run)
    if isinstance(dataset, Unprocessed):
        return 0
    notes += check_dataset(config, dataset.manifest, given=loaded.given)
    config, chosen = with_batch_size(config, dataset, is_resuming=False)
    for note in [*notes, *without_part(loaded.given), *chosen]:
        console.print(f"note: {note}", markup=False)
    config = with_seed(config)
    if config.run.dry_run:
        imitation = config.imitation(dataset.manifest.unrecorded())
        console.print(plan.table(plan.costs_of(imitation)))
        return 0
    _find(config, dataset, console)
    return 0


def without_part(given: Mapping[str, Source]) -> list[str]:
    """A sentence about the options that were given though a sweep has no use for them."""
    known = options(FindLRConfig)
    idle = [
        known[name].flag
        for name, source in given.items()
        if source.rank is Rank.FLAG and _is_idle(known[name])
    ]
    return [f"{', '.join(idle)}: no part in this, as no run is made"] if idle else []


def _is_idle(option: Option) -> bool:
    if option.kind in (Kind.PLACE, Kind.LENGTH, Kind.ENDING) and option.path[0] != "finder":
        return True
    is_of_run = option.path[0] == "run" and option.kind in (Kind.WORK, Kind.START)
    return option.path[0] in ("schedule", "stopping") or (is_of_run and option.name not in _USED)


def _teller(config: FindLRConfig, console: Console) -> Callable[[int, Sweep], None]:
    """Prints a line every `log_interval` updates."""

    def tell(updates: int, found: Sweep) -> None:
        if config.run.verbosity and updates % config.run.log_interval == 0:
            rate, loss = found.rates[-1], found.smoothed[-1]
            total = config.finder.updates
            console.print(f"update {updates}/{total}: lr {rate:.2e}, loss {loss:.4f}", markup=False)

    return tell


def _find(config: FindLRConfig, dataset: Dataset, console: Console) -> None:
    """Runs the sweep, and writes and says what came of it."""
    updates = dataclasses.replace(config.run, max_steps=config.finder.updates)
    imitation = config.imitation(dataset.manifest.unrecorded())
    imitation = dataclasses.replace(imitation, run=updates)
    with kept_compilations(os.environ, is_wanted=config.run.keeps_compilations):
        with quiet_import():
            from exphil_tf.training import lr_figure, lr_finder
            from exphil_tf.training.imitation_setup import imitation_setup

        ramp = lr_finder.Ramp(config.finder)
        with imitation_setup(imitation, dataset, schedule_fn=lambda *_: ramp) as setup:
            found = lr_finder.sweep(setup, config.finder, on_update=_teller(config, console))
    if len(found.rates) < lr_finder.FEWEST:
        raise UserError(
            f"the loss diverged within {len(found.rates)} updates",
            f"Start lower: --lr-min {config.finder.lr_min / 100:.0e}.",
        )
    suggestion = lr_finder.suggest(found.rates, found.smoothed)
    folder = Path(config.finder.output)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_file(folder / "lr_finder.svg", [lr_figure.draw(found, suggestion)])
    facts = {"suggestion": suggestion._asdict(), **found._asdict(), "config": to_dict(config)}
    atomic.write_json(folder / "lr_finder.json", facts)
    console.print(f"the loss falls fastest at {suggestion.steepest:.2g}", markup=False)
    console.print(f"and is lowest at {suggestion.lowest:.2g}", markup=False)
    if not found.has_diverged:
        console.print(f"note: it did not diverge up to {found.rates[-1]:.2g}; try more --updates")
    console.print(f"wrote {folder / 'lr_finder.svg'} and lr_finder.json", markup=False)
    console.print(f"Suggested: --lr {suggestion.lr:.2g}", markup=False)


if __name__ == "__main__":
    run(main, sys.argv[1:])
