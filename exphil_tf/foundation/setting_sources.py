"""The sources of settings besides the command line: presets, files, the environment, saved runs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from exphil_tf.foundation import flat_yaml, former_options
from exphil_tf.foundation.errors import UserError, remark
from exphil_tf.foundation.options import (
    ENV_PREFIX,
    RESERVED,
    Option,
    find,
    unknown,
)
from exphil_tf.foundation.values import Rank, Setting

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "configs" / "presets"
"""Of training from recorded games."""
PLAYING_PRESETS = PRESETS / "playing"
"""Of learning by playing."""
LEAGUE_PRESETS = PRESETS / "league"
"""Of leagues."""
KNOWN_OPTIONS = ROOT / "configs" / "options.txt"


class Saved(NamedTuple):
    """The options of a run that goes on, or of one that another starts from.

    They rank as those of a file do, but for `firm` ones, which the environment does not change.
    """

    values: Mapping[str, object]
    """By name, as YAML gives them."""
    origin: str
    """What an error calls them."""
    firm: frozenset[str] = frozenset()
    """Options that only a flag may change."""

    def only(self, is_kept: Callable[[str], bool]) -> Saved:
        """Some of them, by name, all of which may be changed."""
        values = flat_yaml.Values()
        values |= {name: value for name, value in self.values.items() if is_kept(name)}
        values.lines = getattr(self.values, "lines", {})
        return Saved(values, self.origin)

    def holds(self, option: Option) -> bool:
        """Whether the environment does not change an option."""
        return option.name in self.firm


def preset_names(presets: Path = PRESETS) -> list[str]:
    """Names that `--preset` takes, sorted."""
    return sorted(path.stem for path in presets.glob("*.yaml"))


def read_file(path: str, known: Mapping[str, Option]) -> list[Setting]:
    """The settings of a `--config` file.

    Raises: UserError: if it is none, or names what is no option.
    """
    return named(flat_yaml.read(Path(path)), known, origin=path, rank=Rank.FILE)


def read_preset(name: str, presets: Path, known: Mapping[str, Option]) -> list[Setting]:
    """A preset's settings after those of its `base`, which it inherits.

    Raises: UserError: if there is no such preset.
    """
    settings: list[Setting] = []
    chain: list[str] = []
    current = name
    while current:
        if current not in preset_names(presets):
            raise _unknown_preset(current, presets)
        if current in chain:
            raise UserError(f"preset {name}: its bases go in a circle: {' > '.join(chain)}")
        chain.append(current)
        values = flat_yaml.read(presets / f"{current}.yaml")
        current = str(values.pop("base", ""))
        settings = named(values, known, origin=f"preset {chain[-1]}", rank=Rank.PRESET) + settings
    return settings


def _unknown_preset(name: str, presets: Path) -> UserError:
    names = preset_names(presets)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}? " if close else ""
    return UserError(f"unknown preset {name!r}", f"{hint}Presets: {', '.join(names)}.")


def named(
    values: Mapping[str, object], known: Mapping[str, Option], *, origin: str, rank: Rank
) -> list[Setting]:
    """Settings of values by name.

    Args:
      values: as YAML gives them.
      known: the command's options.
      origin: what an error calls the source.
      rank: of the source.

    Raises: UserError: if a name is no option, or is there twice.
    """
    settings: dict[str, Setting] = {}
    lines = values.lines if isinstance(values, flat_yaml.Values) else {}
    for key, value in values.items():
        name = key.replace("-", "_")
        place = f"{origin}:{lines[key]}: {key}" if key in lines else f"{origin}: {key}"
        option = find(name, known)
        row = former_options.idle(name, known) if option is None else None
        if row is not None:
            remark(f"{place} has nothing left to do: {row.why}")
            continue
        if option is None:
            raise unknown(name, known, origin=place)
        if option.is_positional:
            raise UserError(f"{place}: give it on the command line, it is an argument")
        if option.name in settings:
            raise UserError(f"{place}: {option.name} is given twice")
        settings[option.name] = Setting(place, option, value, rank)
    return list(settings.values())


def read_environment(env: Mapping[str, str], known: Mapping[str, Option]) -> list[Setting]:
    """Settings from `EXPHIL_*`; an empty variable counts as unset, as compose files pass them."""
    settings: list[Setting] = []
    for variable in sorted(env):
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or not env[variable] or name in RESERVED:
            continue
        option = find(name, known)
        if option is not None and not option.is_positional:
            settings.append(Setting(variable, option, env[variable], Rank.VARIABLE))
        elif option is None and not _is_of_another_command(name):
            raise unknown(name, {*known, *_options_of_all_commands()}, origin=variable)
    return settings


def _is_of_another_command(name: str) -> bool:
    """Whether a variable of that name means something to some command, or did to the original."""
    every = _options_of_all_commands()
    return name in every or any(
        ask(name, every) is not None for ask in (former_options.renamed, former_options.idle)
    )


def _options_of_all_commands() -> set[str]:
    """Names of every command's options, one a line in a file that a test keeps fresh.

    A file, as this module stands below the commands and may not import them.
    """
    return set(KNOWN_OPTIONS.read_text(encoding="utf-8").split())
