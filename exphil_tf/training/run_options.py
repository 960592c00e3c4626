"""The options of a run that goes on, or that starts from another: what is kept, what may change.

What happens to an option follows from its kind (`foundation.kinds`). The options of an earlier run
are one more source of settings, which ranks above files: a flag always changes one, though a run
that goes on then refuses what would make it another run.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from exphil_tf.checkpoints.provenance import nested
from exphil_tf.foundation import flat_yaml
from exphil_tf.foundation.config import PRESETS, Loaded, Saved, Sources
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import Option, options
from exphil_tf.foundation.values import Source
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT
from exphil_tf.training import run_folder
from exphil_tf.training.option_kinds import former_values, kind_of
from exphil_tf.training.ppo_config import Playing, PlayingConfig, RentedPlayingConfig
from exphil_tf.training.run_config import MAX_SEED, RunConfig
from exphil_tf.training.run_folder import CONFIG_JSON, CONFIG_YAML, POLICY, RunLocation, read_json
from exphil_tf.training.train_config import Config, TrainConfig

Seeded = TypeVar("Seeded", bound=TrainConfig | PlayingConfig)
Rented = TypeVar("Rented", bound=TrainConfig | RentedPlayingConfig)

Fetch = Callable[[str, RunLocation, bool], RunLocation]
"""Fetches a run from an address into its folder, if it is newer there; told whether the run was
named, returns where it goes on."""


def read_run(
    cls: type[Config], argv: Sequence[str], *, prog: str, fetch: Fetch | None = None
) -> tuple[Loaded[Config], RunLocation]:
    """The options of a command that trains, and the run's folder.

    A run that goes on takes the options it was started with, under those of the arguments; so does
    one that starts from the weights of another, but for those that are each run's own.

    Args:
      cls: the command's root dataclass.
      argv: the arguments after the program's name.
      prog: how help names the command.
      fetch: what brings a run that is to be resumed from where it is copied to; None leaves that.

    Raises: UserError: if any option is wrong, or there is no such run.
    """
    sources = Sources(cls, argv, prog=prog, presets=PRESETS)
    target = _target(sources, prefix=_prefix(sources))
    target = _fetched(sources, target, fetch)
    if target.saved_yaml is not None:
        return _gone_on(sources, target), target
    (init_from,) = sources.values("init_from")
    return sources.load(_inherited(sources, init_from) if init_from else None), target


def read_playing_run(
    cls: type[Playing],
    argv: Sequence[str],
    *,
    prog: str,
    fetch: Fetch | None = None,
    presets: Path | None = None,
) -> tuple[Loaded[Playing], RunLocation]:
    """As `read_run`, of a command that learns by playing; it inherits nothing.

    Args:
      cls: the command's root dataclass.
      argv: the arguments after the program's name.
      prog: how help names the command.
      fetch: as of `read_run`.
      presets: folder of the command's presets; None for one without.

    Raises: UserError: if any option is wrong, or there is no such run.
    """
    sources = Sources(cls, argv, prog=prog, presets=presets)
    target = _target(sources, prefix=f"{sources.values('character')[0].replace(' ', '')}_played")
    target = _fetched(sources, target, fetch)
    if target.saved_yaml is not None:
        return _gone_on(sources, target), target
    return sources.load(), target


def _fetched(sources: Sources[Any], target: RunLocation, fetch: Fetch | None) -> RunLocation:
    """Where a run goes on that was looked for where it is copied to, if it is."""
    if fetch is None:
        return target
    address, resume, *names = sources.values("sync", "resume", "name", "run_dir")
    return fetch(address, target, any(names)) if address and resume == "auto" else target


def _gone_on(sources: Sources[Any], target: RunLocation) -> Loaded[Any]:
    """The options of a run that goes on.

    Raises: UserError: (78) if it knows options that this command does not.
    """
    saved, foreign = saved_options(target.run_dir, known=options(sources.cls))
    if foreign:
        raise UserError(
            f"--resume: {target.run_dir} was started by another command or release (options: "
            f"{', '.join(foreign)})",
            f"Go on with it by the one that its {CONFIG_JSON} names.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    return sources.load(saved)


def _target(sources: Sources[Any], *, prefix: str) -> RunLocation:
    names = ("name", "run_dir", "runs_dir", "resume")
    asked = dict(zip(names, sources.values(*names), strict=True))
    try:
        run = RunConfig(**asked)
    except ValueError as error:
        raise UserError(f"--{error}", "Choose another --name.") from error
    return run_folder.locate(run, prefix=prefix)


def _prefix(sources: Sources[Any]) -> str:
    """Of a made-up name."""
    backbone, character = sources.values("backbone", "train_character")
    return backbone if character is None else f"{character.replace(' ', '')}_{backbone}"


def _inherited(sources: Sources[Any], init_from: str) -> Saved | None:
    """What is taken over from the run whose weights are the first ones.

    Returns: None if they were made elsewhere: the network must then be given, and is checked.

    Raises: UserError: if there is no policy in it, or its data are wanted and not here.
    """
    known = options(sources.cls)
    saved = options_of_bundle(run_folder.find_bundle(Path(init_from)), known=known)
    if saved is None:
        return None
    places = sources.values("data", "replays")
    has_data = any(places)
    kept = saved.only(
        lambda name: kind_of(name).is_inherited and not (has_data and _is_of_data(known, name))
    )
    if not has_data:
        _check_inherited_data(kept.values, init_from)
    return kept


def _is_of_data(known: Mapping[str, Option], name: str) -> bool:
    """Whether an option says which data, and how many: those of one run are no other's."""
    return known[name.replace("-", "_")].path[0] == "data"


def _check_inherited_data(values: Mapping[str, Any], init_from: str) -> None:
    """Refuses data of another run that is not here, under the option that was given."""
    data, replays = values.get("data"), values.get("replays") or ()
    places = [data] if data else [replays] if isinstance(replays, str) else list(replays)
    missing = [place for place in places if "://" not in place and not Path(place).exists()]
    if missing or not places:
        what = f"{missing[0]} is not here" if missing else "it does not say which"
        raise UserError(
            f"--init-from {init_from}: wants the data of its run, and {what}",
            "Give some: --data DATASET or --replays DIR.",
            exit_code=EXIT_NO_INPUT,
        )


def saved_options(run_dir: Path, *, known: Mapping[str, Option]) -> tuple[Saved, list[str]]:
    """The options of a run, for a command that may know fewer, such as those of a distilled run.

    Args:
      run_dir: holds a `config.yaml`.
      known: options by name.

    Returns: those that are known, and the names that were left out.

    Raises: UserError: if the file is damaged (65).
    """
    path = run_dir / CONFIG_YAML
    values = flat_yaml.read(path, exit_code=EXIT_DATA)
    foreign = [name for name in values if name.replace("-", "_") not in known]
    for name in foreign:
        del values[name]
    _add_former(values, known)
    firm = frozenset(name.replace("-", "_") for name in values if not kind_of(name).is_free)
    return Saved(values, str(path), firm), foreign


def options_of_bundle(bundle: Path, *, known: Mapping[str, Option]) -> Saved | None:
    """The options that a policy was trained with: its run's, or what the bundle itself knows.

    Args:
      bundle: the policy's folder, in its run or alone.
      known: options by name.

    Raises: UserError: if the run's file is damaged (65).
    """
    if bundle.name == POLICY and (bundle.parent / CONFIG_YAML).is_file():
        return saved_options(bundle.parent, known=known)[0]
    config = nested(read_json(bundle / CONFIG_JSON), "provenance", "config")
    if not isinstance(config, dict) or not config:
        return None
    values = {
        name: value for name, value in config.items() if name in known and kind_of(name).is_saved
    }
    _add_former(values, known)
    return Saved(values, str(bundle / CONFIG_JSON))


def _add_former(values: dict[str, Any], known: Mapping[str, Option]) -> None:
    """Adds what an older run had of options that it does not name."""
    named = {name.replace("-", "_") for name in values}
    for name, value in former_values().items():
        if name in known and name not in named:
            values[name] = value


def with_frequent_saves(config: Rented, *, given: Mapping[str, Source]) -> tuple[Rented, list[str]]:
    """The configuration with a checkpoint a minute if the run is copied, and a sentence about it.

    Args:
      config: of a run.
      given: options that were asked for.
    """
    run, notes = config.cloud.frequent_saves(config.run, given=given)
    return dataclasses.replace(config, run=run), notes


def with_seed(config: Seeded) -> Seeded:
    """The configuration with a seed, drawn if none was given."""
    if config.run.seed is not None:
        return config
    seeded = dataclasses.replace(config.run, seed=secrets.randbelow(MAX_SEED))
    return dataclasses.replace(config, run=seeded)
