"""How a command gets its configuration.

A command declares one frozen root dataclass, composed of one frozen dataclass per concern. `load`
fills it from five sources, lowest rank first::

    defaults < --preset NAME < --config FILE.yaml < EXPHIL_* environment < flags

The options of a run that goes on (`Saved`) stand between files and environment.

A value of a lower source is dropped once a higher one names the option, or chooses an alternative
of it (`options.EXCLUSIVE`). Unknown names are refused with the nearest known one; an `EXPHIL_*`
variable only if no command knows it. The terms option, setting and token are those of `options`.

Alternatives that lost: jsonargparse (its `--config` outranks the environment), pydantic-settings
(0.8 s of import, no frozen dataclasses), hydra (its own syntax and directories).
"""

from __future__ import annotations

import contextlib
import difflib
import enum
import io
import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tyro
import yaml

from exphil_tf.foundation import flat_yaml
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import (
    ALIASES,
    ENV_PREFIX,
    RESERVED,
    RETIRED,
    SHORTHANDS,
    SWITCH_WORDS,
    Option,
    Setting,
    find,
    is_list_of_numbers,
    is_scalar,
    options,
    ranked,
    switch_token,
    tokens_by_name,
    tokens_of,
    unknown,
)

T = TypeVar("T")


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


ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "configs" / "presets"
KNOWN_OPTIONS = ROOT / "configs" / "options.txt"

_SENTENCE = 1_000
"""Characters of a complaint that quotes a value at length."""
_SECRET = re.compile(r"token|password|secret|credential|(api|app|access|private)_?key|key_id")


def to_dict(config: object) -> dict[str, Any]:
    """Resolved options as plain values (str, int, float, bool, None, list) by name, no secrets."""
    return {
        option.name: _plain(_get(config, option.path))
        for option in options(type(config)).values()
        if not _SECRET.search(option.name)
    }


def dump_yaml(config: object) -> str:
    """Resolved options as flat YAML, which `--config` reads back to the same configuration."""
    positional = {name for name, option in options(type(config)).items() if option.is_positional}
    plain = {k.replace("_", "-"): v for k, v in to_dict(config).items() if k not in positional}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _get(config: object, path: tuple[str, ...]) -> object:
    for name in path:
        config = getattr(config, name)
    return config


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
    return _load(cls, argv, env=env, prog=prog, presets=presets, saved=saved)[0]


def load_partial(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
) -> tuple[T, list[str]]:
    """As `load`, but hands back the arguments it doesn't know, for another parser (Beam's)."""
    return _load(cls, argv, env=env, prog=prog, partial=True)


def from_dict(cls: type[T], values: Mapping[str, object], *, origin: str = "values") -> T:
    """Builds a configuration from `to_dict`'s plain values, as strictly as from a YAML file."""
    known = options(cls)
    tokens = tokens_by_name(_named(values, known, origin))
    return _parse(cls, [t for group in tokens.values() for t in group], prog=None, partial=False)[0]


def preset_names(presets: Path = PRESETS) -> list[str]:
    """Names that `--preset` takes, sorted."""
    return sorted(path.stem for path in presets.glob("*.yaml"))


class _Arguments(NamedTuple):
    """argv taken apart: our own two flags out, aliases replaced, names that it sets noted."""

    tokens: list[str]
    values: dict[str, str]
    """Names that they set, and the first word of each value."""
    presets: list[str]
    files: list[str]


def _load(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    prog: str | None,
    presets: Path | None = None,
    saved: Saved | None = None,
    partial: bool = False,
) -> tuple[T, list[str]]:
    environment = os.environ if env is None else env
    known = options(cls)
    arguments = _read_arguments(argv, known, takes_preset=presets is not None, partial=partial)
    settings: list[Setting] = []
    if presets is not None:
        default_preset = environment.get(ENV_PREFIX + "DEFAULT_PRESET", "")
        preset = arguments.presets[-1] if arguments.presets else default_preset
        settings += _read_preset(preset, presets, known) if preset else []
    for path in arguments.files:
        settings += _named(flat_yaml.read(Path(path)), known, path)
    old = [] if saved is None else _named(saved.values, known, saved.origin)
    firm = frozenset[str]() if saved is None else saved.firm
    variables = [s for s in _read_environment(environment, known) if s.option.name not in firm]
    tokens = tokens_by_name(ranked(settings, variables, saved=old, arguments=arguments.values))
    lower = [t for name, group in tokens.items() if name not in arguments.values for t in group]
    # Arguments first: a list flag of a lower source can't swallow a positional argument.
    return _parse(cls, arguments.tokens + lower, prog=prog, partial=partial, presets=presets)


def _parse(
    cls: type[T],
    tokens: list[str],
    *,
    prog: str | None,
    partial: bool,
    presets: Path | None = None,
) -> tuple[T, list[str]]:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                cls,
                args=tokens,
                prog=prog,
                description=_describe_command(cls, presets, tokens),
                return_unknown_args=True,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_sentence(complaint.getvalue()), _see_help(prog)) from None
    config, rest = parsed
    if rest and not partial:
        raise UserError(f"unexpected argument: {' '.join(rest)[:_SENTENCE]}", _see_help(prog))
    return config, rest


def _describe_command(cls: type, presets: Path | None, tokens: Sequence[str]) -> str:
    """What help says above the options: purpose, presets, ranks, and what the sources have set."""
    ranks = "defaults < --config FILE.yaml < EXPHIL_* environment < flags"
    paragraphs = [(cls.__doc__ or "").strip()]
    if presets is not None:
        ranks = ranks.replace("--config", "--preset NAME < --config", 1)
        paragraphs.append(f"Presets: {', '.join(preset_names(presets))}.")
    paragraphs.append(f"Each option may also stand in a file or in the environment: {ranks}.")
    if given := [token for token in tokens if token not in ("-h", "--help")]:
        paragraphs.append(f"Now in force besides the defaults: {' '.join(_masked(given))}")
    return "\n\n".join(paragraphs)


def _masked(tokens: Iterable[str]) -> Iterable[str]:
    """The tokens with `…` for the value of each secret."""
    is_secret = False
    for token in tokens:
        if token.startswith("--"):
            flag, equals, _ = token.partition("=")
            is_secret = _SECRET.search(flag.replace("-", "_")) is not None
            yield f"{flag}=…" if is_secret and equals else token
        else:
            yield "…" if is_secret else token


def _see_help(prog: str | None) -> str:
    return f"See `{prog} --help`." if prog else "See --help."


def _one_sentence(box: str) -> str:
    """The first paragraph of tyro's framed complaint, on one line."""
    words: list[str] = []
    for line in box.splitlines():
        text = line.strip(" │")
        if text.startswith("╭") or not text:
            continue
        if text.startswith(("─", "╰")):
            break
        words.append(text)
    sentence = re.sub(r"^Error parsing (?=--)|^Error parsing \w+: ", "", " ".join(words))
    return sentence[:_SENTENCE] or "invalid arguments"


# -- Sources --------------------------------------------------------------------------------------


def _read_arguments(
    argv: Sequence[str], known: Mapping[str, Option], *, takes_preset: bool, partial: bool
) -> _Arguments:
    result = _Arguments([], {}, [], [])
    ours = {"config": result.files} | ({"preset": result.presets} if takes_preset else {})
    rest = _parted(argv, known)
    while rest:
        token = rest.pop(0)
        flag, equals, value = token.partition("=")
        name = flag[2:].replace("-", "_")
        if not flag.startswith("--") or name == "help" or name.startswith("tyro_"):
            result.tokens.append(token)
            continue
        has_value = bool(equals) or bool(rest and not rest[0].startswith("--"))
        if name in ours:
            if not has_value:
                raise UserError(f"{flag}: want a {'file' if name == 'config' else 'name'} after it")
            ours[name].append(value if equals else rest.pop(0))
            continue
        option = _option_of_flag(name, known)
        if option is not None:
            if option.is_switch and not equals and rest and rest[0].lower() in SWITCH_WORDS:
                token = f"{flag}={rest.pop(0)}"
            elif has_value and _takes_one_word(option) and name not in SHORTHANDS:
                tokens_of(Setting(flag, option, value if equals else rest[0]))
            rewritten = _rewritten(token, option)
            following = rest[0] if rest and not rest[0].startswith("--") else ""
            result.values[option.name] = _word_of(rewritten, option, following)
            result.tokens.append(rewritten)
        elif partial and name not in RETIRED:
            result.tokens.append(token)
        else:
            raise unknown(name, [*known, *ours], origin=flag)
    return result


def _word_of(token: str, option: Option, following: str) -> str:
    """The value of a flag's token, or the first word of several."""
    flag, equals, value = token.partition("=")
    if equals:
        return value
    return str(flag == option.flag) if option.is_switch else following


def _parted(argv: Sequence[str], known: Mapping[str, Option]) -> list[str]:
    """The arguments with `--hidden 64,64` and `--hidden=64,64` as `--hidden 64 64`."""
    parted: list[str] = []
    is_numbers = False
    for token in argv:
        flag, equals, value = token.partition("=")
        if flag.startswith("--"):
            option = _option_of_flag(flag[2:].replace("-", "_"), known)
            is_numbers = option is not None and is_list_of_numbers(option.annotation)
            parted += [flag, *value.split(",")] if is_numbers and equals else [token]
        else:
            parted += token.split(",") if is_numbers else [token]
    return parted


def _takes_one_word(option: Option) -> bool:
    return is_scalar(option.annotation) and not option.is_switch


def _option_of_flag(name: str, known: Mapping[str, Option]) -> Option | None:
    if name in SHORTHANDS and name not in known:
        return known.get(SHORTHANDS[name][0])
    option = find(name, known)
    if option is None and name.startswith("no_"):
        option = find(name[3:], known)
        return option if option is not None and option.is_switch else None
    return option


def _rewritten(token: str, option: Option) -> str:
    """The token under the option's own name (aliases and shorthands replaced)."""
    flag, equals, value = token.partition("=")
    name = flag[2:].replace("-", "_")
    if name in SHORTHANDS and name != option.name:
        return f"{option.flag}={SHORTHANDS[name][1]}"
    if option.is_switch:
        is_no = name != option.name and name.startswith("no_")
        if is_no and equals:
            raise UserError(f"{flag}: want no value. Received: {value!r}")
        return switch_token(Setting(flag, option, value if equals else not is_no))
    return option.flag + equals + value


def _read_preset(name: str, presets: Path, known: Mapping[str, Option]) -> list[Setting]:
    """A preset's settings after those of its `base`, which it inherits."""
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
        settings = _named(values, known, f"preset {chain[-1]}") + settings
    return settings


def _unknown_preset(name: str, presets: Path) -> UserError:
    names = preset_names(presets)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}? " if close else ""
    return UserError(f"unknown preset {name!r}", f"{hint}Presets: {', '.join(names)}.")


def _named(values: Mapping[str, object], known: Mapping[str, Option], source: str) -> list[Setting]:
    settings: dict[str, Setting] = {}
    lines = values.lines if isinstance(values, flat_yaml.Values) else {}
    for key, value in values.items():
        name = key.replace("-", "_")
        origin = f"{source}:{lines[key]}: {key}" if key in lines else f"{source}: {key}"
        option = find(name, known)
        if option is None:
            raise unknown(name, known, origin=origin)
        if option.is_positional:
            raise UserError(f"{origin}: give it on the command line, it is an argument")
        if option.name in settings:
            raise UserError(f"{origin}: {option.name} is given twice")
        settings[option.name] = Setting(origin, option, value)
    return list(settings.values())


def _read_environment(env: Mapping[str, str], known: Mapping[str, Option]) -> list[Setting]:
    """Settings from `EXPHIL_*`; an empty variable counts as unset, as compose files pass them."""
    settings: list[Setting] = []
    for variable in sorted(env):
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or not env[variable] or name in RESERVED:
            continue
        option = find(name, known)
        if option is not None and not option.is_positional:
            settings.append(Setting(variable, option, env[variable]))
        elif option is None and ALIASES.get(name, name) not in _options_of_all_commands():
            raise unknown(name, {*known, *_options_of_all_commands()}, origin=variable)
    return settings


def _options_of_all_commands() -> set[str]:
    """Names of every command's options, one a line in a file that a test keeps fresh.

    A file, as this module stands below the commands and may not import them.
    """
    return set(KNOWN_OPTIONS.read_text(encoding="utf-8").split())
