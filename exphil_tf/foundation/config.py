"""How a command gets its configuration.

A command declares one frozen root dataclass, composed of one frozen dataclass per concern. `load`
fills it from these sources, lowest rank first::

    defaults < --preset NAME < --config FILE.yaml < a saved run < EXPHIL_* environment < flags

Unknown names are refused with the nearest known one; an `EXPHIL_*` variable only if no command
knows it. Which values are in force is decided in `precedence`; `load_given` also tells which
options were given, and where. The terms option and setting are those of `options` and `values`.

tyro types the values and writes the help. Alternatives that lost: its parser for all sources (a
setting as flag tokens: one parser per value, as an error must name its source, and errors as a box
to be taken apart), jsonargparse (its `--config` outranks the environment), pydantic-settings (0.8 s
of import, no frozen dataclasses), hydra (its own syntax and directories).
"""

from __future__ import annotations

import dataclasses
import enum
import os
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import yaml

from exphil_tf.foundation import command_help
from exphil_tf.foundation.arguments import read_arguments
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import family_of, fields_of
from exphil_tf.foundation.options import (
    ENV_PREFIX,
    MISSING,
    Option,
    default_of,
    is_dataclass_type,
    options,
)
from exphil_tf.foundation.precedence import InForce, highest, in_force, values_of
from exphil_tf.foundation.setting_sources import (
    KNOWN_OPTIONS,
    LEAGUE_PRESETS,
    PLAYING_PRESETS,
    PRESETS,
    ROOT,
    Saved,
    named,
    preset_names,
    read_environment,
    read_file,
    read_preset,
)
from exphil_tf.foundation.values import Rank, Source, describe, tokens

__all__ = [
    "KNOWN_OPTIONS",
    "LEAGUE_PRESETS",
    "PLAYING_PRESETS",
    "PRESETS",
    "ROOT",
    "Loaded",
    "Saved",
    "Sources",
    "dump_yaml",
    "from_dict",
    "load",
    "load_given",
    "load_partial",
    "preset_names",
    "refuse_given",
    "to_dict",
]

DEFAULT_PRESET = ENV_PREFIX + "DEFAULT_PRESET"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Loaded(Generic[T]):
    """A command's configuration, and what of it was asked for."""

    config: T
    given: Mapping[str, Source] = dataclasses.field(default_factory=dict[str, Source])
    """Options that were given, by name, and where. Those that a file or a saved run has at their
    default are not among them: a dump of a run names every option."""


def refuse_given(
    given: Mapping[str, Source], names: Collection[str], *, why: str, hint: str = "Leave it out."
) -> None:
    """Refuses options that have no effect beside what else was given.

    Args:
      given: options that were asked for (`Loaded.given`).
      names: of those that have none.
      why: what follows the option's name in the sentence.
      hint: what to do.

    Raises: UserError: names the first of them that was typed or stands in a file; variables are set
      for every command.
    """
    for name, source in given.items():
        if name in names and source.rank in (Rank.FLAG, Rank.FILE):
            raise UserError(f"{source.origin}: {why}", hint)


def to_dict(config: object) -> dict[str, Any]:
    """Resolved options as plain values (str, int, float, bool, None, list) by name, no secrets."""
    values = ((option, _get(config, option)) for option in options(type(config)).values())
    return {
        option.name: _plain(value)
        for option, value in values
        if value is not MISSING and not command_help.is_secret(option.name)
    }


def dump_yaml(config: object) -> str:
    """Resolved options as flat YAML, which `--config` reads back to the same configuration."""
    positional = {name for name, option in options(type(config)).items() if option.is_positional}
    plain = {k.replace("_", "-"): v for k, v in to_dict(config).items() if k not in positional}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _get(config: object, option: Option) -> object:
    """The value of an option; `MISSING` if the chosen alternative has no such option."""
    owner: object = config
    for name in option.path[:-1]:
        owner = getattr(owner, name)
    is_there = option.is_choice or option.name in fields_of(type(owner))
    return getattr(owner, option.name) if is_there else MISSING


def _plain(value: object) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_plain(v) for v in typing.cast(Iterable[object], value)]
    return value


def load(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
    presets: Path | None = None,
    saved: Saved | None = None,
) -> T:
    """As `load_given`, for a command to which it is all one where a value comes from."""
    return load_given(cls, argv, env=env, prog=prog, presets=presets, saved=saved).config


def load_given(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
    presets: Path | None = None,
    saved: Saved | None = None,
) -> Loaded[T]:
    """Builds a command's configuration from every source.

    Args:
      cls: the command's root dataclass.
      argv: the arguments after the program's name.
      env: the environment; `os.environ` if None.
      prog: how help names the command, such as `python -m exphil_tf.train`.
      presets: folder of `<name>.yaml` for a command that has `--preset`; None for one without.
      saved: options of an earlier run, which rank above files.

    Raises: UserError: if any source is wrong (exit code 2, or 66 for a missing file).
    """
    return Sources(cls, argv, env=env, prog=prog, presets=presets).load(saved)


def load_partial(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
) -> tuple[T, list[str]]:
    """As `load`, but hands back the arguments it doesn't know, for another parser (Beam's)."""
    sources = Sources(cls, argv, env=env, prog=prog, partial=True)
    return sources.load().config, sources.unknown


def from_dict(cls: type[T], values: Mapping[str, object], *, origin: str = "values") -> T:
    """Builds a configuration from `to_dict`'s plain values, as strictly as from a YAML file."""
    return load(cls, [], env={}, saved=Saved(values, origin))


class Sources(Generic[T]):
    """What a command was given, read once and checked, but not yet built.

    Args: as `load_given`.
      partial: whether unknown arguments are kept in `unknown`.

    Raises: UserError: if any source is wrong.
    """

    def __init__(
        self,
        cls: type[T],
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        prog: str | None = None,
        presets: Path | None = None,
        partial: bool = False,
    ):
        self.cls = cls
        self._prog = prog
        self._known = options(cls)
        environment = os.environ if env is None else env
        has_presets = presets is not None
        read = read_arguments(argv, self._known, takes_preset=has_presets, partial=partial)
        self.unknown = read.unknown
        # The variable names a preset of training; other commands have others.
        has_others = presets in {PLAYING_PRESETS, LEAGUE_PRESETS}
        usual = "" if has_others else environment.get(DEFAULT_PRESET, "")
        preset = read.presets[-1] if read.presets else usual
        self._settings = [
            *(read_preset(preset, presets, self._known) if preset and presets else ()),
            *(s for path in read.files for s in read_file(path, self._known)),
            *read_environment(environment, self._known),
            *read.settings.values(),
        ]
        if read.help:
            self._print_help(read.help, presets)

    def values(self, *names: str) -> list[Any]:
        """What these options alone come to, before anything is built or refused as ineffective."""
        found = values_of(self._settings, names)
        return [found.get(name, self._known[name].default) for name in names]

    def load(self, saved: Saved | None = None) -> Loaded[T]:
        """The configuration.

        Args:
          saved: options of an earlier run, which rank above files.

        Raises: UserError: if options contradict each other, or a value is out of range.
        """
        settings = self._settings
        if saved is not None:
            settings = [s for s in settings if s.rank != Rank.VARIABLE or not saved.holds(s.option)]
            settings += named(saved.values, self._known, origin=saved.origin, rank=Rank.SAVED)
        found = in_force(self._known, settings)
        try:
            return Loaded(_build(self.cls, found), found.given)
        except ValueError as error:
            raise UserError(str(error), _see_help(self._prog)) from error

    def _print_help(self, flags: Sequence[str], presets: Path | None) -> NoReturn:
        words = [word for setting in highest(self._settings).values() for word in tokens(setting)]
        names = None if presets is None else preset_names(presets)
        command_help.show(self.cls, flags, prog=self._prog, presets=names, in_force=words)


def _build(cls: type[Any], found: InForce) -> Any:
    """A dataclass of the values in force, its nested ones first.

    Raises: UserError: if an option without default is missing. ValueError: of the dataclass.
    """
    return _build_from(cls, found, None)


def _build_from(cls: type[Any], found: InForce, instance: object | None) -> Any:
    hints = typing.get_type_hints(cls)
    made: dict[str, Any] = {}
    for name, field in fields_of(cls).items():
        default = default_of(field, instance)
        if (family := family_of(field)) is not None:
            chosen = found.chosen[family.by]
            own = fields_of(family.alternatives[chosen])
            made[name] = family.make(chosen, **{n: v for n, v in found.values.items() if n in own})
        elif is_dataclass_type(hints[name]):
            made[name] = _build_from(hints[name], found, None if default is MISSING else default)
        elif name in found.values:
            made[name] = found.values[name]
        elif default is MISSING:
            raise _required(cls, field, hints[name])
    return (
        cls(**made) if instance is None else dataclasses.replace(typing.cast(Any, instance), **made)
    )


def _required(cls: type, field: dataclasses.Field[Any], annotation: Any) -> UserError:
    is_positional = options(cls)[field.name].is_positional
    flag = field.name.replace("_", "-")
    place = flag.upper() if is_positional else f"--{flag}"
    return UserError(f"{place}: want {describe(annotation)}. Received: nothing", "See --help.")


def _see_help(prog: str | None) -> str:
    return f"See `{prog} --help`." if prog else "See --help."
