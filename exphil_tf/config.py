"""How a command gets its configuration, and how it ends when something is wrong.

A command declares one frozen root dataclass, composed of one frozen dataclass per concern. `load`
fills it from five sources, lowest rank first::

    defaults < --preset NAME < --config FILE.yaml < EXPHIL_* environment < flags

Vocabulary: an *option* is a leaf field of the root; its *name* is the field's (`batch_size`), its
flag is flat whatever the nesting (`--batch-size`), its variable is `EXPHIL_BATCH_SIZE`, its key in
YAML is either spelling. Names are therefore unique in a command; a clash is refused at once.

Each source becomes flag tokens and tyro types them all, so a value means the same wherever it
stands. A value of a lower source is dropped once a higher one names the option: tokens are not
merely repeated, because a list flag before a positional argument would swallow it. Unknown names
are refused with the nearest known one; an `EXPHIL_*` variable only if no command knows it.

Alternatives that lost: jsonargparse (its `--config` outranks the environment), pydantic-settings
(0.8 s of import, no frozen dataclasses), hydra (its own syntax and directories).
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import errno
import io
import os
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

import tyro
import yaml

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
PRESETS = ROOT / "configs" / "presets"
KNOWN_OPTIONS = ROOT / "configs" / "options.txt"
ENV_PREFIX = "EXPHIL_"

# Exit codes: those of sysexits.h where one fits.
EXIT_OK = 0
EXIT_USAGE = 2  # a flag, a configuration, a combination of them
EXIT_DATA = 65  # input is there but damaged or of the wrong kind
EXIT_NO_INPUT = 66  # a file or folder is missing
EXIT_INTERNAL = 70  # a defect of this program
EXIT_CANNOT_CREATE = 73  # output exists, is locked or may not be written
EXIT_IO = 74  # reading or writing failed, disk full
EXIT_INTERRUPTED = 75  # interrupted after a checkpoint was saved: run again with --resume auto
EXIT_INCOMPATIBLE = 78  # an artefact of another schema or version
EXIT_ABORTED = 130  # interrupted by Ctrl-C with nothing to resume

# Names that users of the original trainer know (its code and its guides differ) -> ours.
ALIASES: dict[str, str] = {
    "character": "characters",
    "checkpoint_freq": "save_every",
    "gradient_accumulation": "accumulation_steps",
    "gradient_clip": "max_grad_norm",
    "hidden_sizes": "hidden",
    "learning_rate": "lr",
    "player": "player_port",
    "replays_dir": "replays",
    "save_every_batches": "save_every_steps",
    "seq_len": "window_size",
}
# Flags without a value that stand for an option with one.
SHORTHANDS: dict[str, tuple[str, str]] = {
    "quiet": ("verbosity", "0"),
    "verbose": ("verbosity", "2"),
}
# Options of the original which have nothing left to do. Refused, since a flag that silently does
# nothing is worse than one edit; the sentence says what took over.
_STREAMED = "records are always streamed from disk in bounded memory, so drop it"
_EMBEDDED = "the embedding is the model's first layer and is never stored, so drop it"
RETIRED: dict[str, str] = {
    "auto_batch_backoff": "choose --batch-size; --dry-run prints the memory it needs",
    "auto_batch_max": "choose --batch-size; --dry-run prints the memory it needs",
    "auto_batch_min": "choose --batch-size; --dry-run prints the memory it needs",
    "auto_batch_size": "choose --batch-size; --dry-run prints the memory it needs",
    "cache": "the dataset itself is the cache, kept by content; choose its folder with --data",
    "cache_augmented": "augmentation costs nothing while training, so use --augment alone",
    "cache_dir": "the dataset itself is the cache, kept by content; choose its folder with --data",
    "cache_embeddings": _EMBEDDED,
    "flash_attention_nif": "XLA fuses the attention kernel, so drop it",
    "gc_every": "memory is bounded without it, so drop it",
    "mixed_precision": "use --precision bf16",
    "mmap_embeddings": _EMBEDDED,
    "mmap_path": _EMBEDDED,
    "precompute": _EMBEDDED,
    "prefetch": "input is always prefetched, so drop it",
    "prefetch_buffer": "tf.data chooses the buffer, so drop it",
    "stream_chunk_size": _STREAMED,
    "val_concurrency": "validation runs in the same compiled step as training, so drop it",
}
# Values which a later release brings: (option, value) -> what to say.
_LATER = "comes in a later release; mlp, lstm, mamba and sliding_window are there now"
PLANNED: dict[tuple[str, str], str] = {
    ("backbone", "gru"): _LATER,
    ("backbone", "hybrid"): _LATER,
    ("backbone", "jamba"): _LATER,
}

_RESERVED = ("config", "preset", "default_preset", "help")
_SECRET = re.compile(r"token|password|secret|credential|(api|app|access|private)_?key|key_id")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


# -- Errors and exit codes -------------------------------------------------------------------------


class UserError(Exception):
    """Something the user can put right: one sentence on what is wrong, one on what to do next.

    Args:
      message: what is wrong, with the path, what is wanted and what was received.
      next_step: what to do about it, or empty if the message says so.
      exit_code: one of the `EXIT_*` codes.
    """

    def __init__(self, message: str, next_step: str = "", *, exit_code: int = EXIT_USAGE):
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code

    def __str__(self) -> str:
        message = self.message.rstrip()
        if not self.next_step:
            return message
        return f"{message}{'' if message.endswith(('.', '?', '!')) else '.'} {self.next_step}"


def run(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a command's `main(argv)` and exits: 0 or its code, or one line on stderr and a code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        sys.exit(main(arguments) or EXIT_OK)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was left half-written, so run the same command again", 130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not our failure, nothing to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OK)
    except OSError as error:
        _fail(*_explain_os_error(error))
    except MemoryError:
        _fail("out of memory; choose a smaller --batch-size or fewer processes", EXIT_INTERNAL)
    except Exception as error:
        traceback.print_exc()
        name = type(error).__name__
        _fail(f"internal: {name}: {error} (a defect of this program; see above)", EXIT_INTERNAL)


def _fail(sentence: str, exit_code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        print(f"error: {sentence}", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(exit_code)


def _explain_os_error(error: OSError) -> tuple[str, int]:
    where = f"{error.filename}: " if error.filename else ""
    reason = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}. Free some space and run the same command again", EXIT_IO
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{reason}. Check the path", EXIT_NO_INPUT
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR):
        return f"{reason}. Check the path and its permissions", EXIT_CANNOT_CREATE
    return reason, EXIT_IO


# -- Options: the leaves of a root dataclass ---------------------------------------------------------


class Option(NamedTuple):
    """One option of a command: a leaf of its nested dataclasses."""

    name: str
    """Field name, snake case; unique in the command."""
    path: tuple[str, ...]
    """Field names from the root down to the leaf."""
    annotation: Any
    """Type of the value, without `Annotated`."""
    is_positional: bool
    """Whether it is given by place, not by flag, and hence only on the command line."""

    @property
    def flag(self) -> str:
        """The flag as typed, `--batch-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable, `EXPHIL_BATCH_SIZE`."""
        return ENV_PREFIX + self.name.upper()


def options(cls: type) -> dict[str, Option]:
    """Every option of a root dataclass by name, in declared order.

    Raises: TypeError: if two nested dataclasses have a leaf of the same name, or one is reserved.
    """
    found: dict[str, Option] = {}
    for option in _leaves(cls, ()):
        if option.name in found:
            one, two = (".".join(o.path) for o in (found[option.name], option))
            raise TypeError(f"{cls.__name__}: {one} and {two} would share the flag {option.flag}")
        if option.name in _RESERVED:
            raise TypeError(f"{cls.__name__}: {'.'.join(option.path)}: this name is reserved")
        found[option.name] = option
    return found


def _leaves(cls: type, path: tuple[str, ...]) -> Iterable[Option]:
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        annotation, positional = hints[field.name], False
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *markers = typing.get_args(annotation)
            positional = tyro.conf.Positional in typing.cast(list[object], markers)
            positional = positional or any("Positional" in repr(marker) for marker in markers)
        here = (*path, field.name)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            yield from _leaves(annotation, here)
        else:
            yield Option(field.name, here, annotation, positional)


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


# -- Loading -----------------------------------------------------------------------------------------


def load(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
    presets: Path | None = None,
) -> T:
    """Builds a command's configuration from every source.

    Args:
      cls: the command's root dataclass.
      argv: the arguments after the program's name.
      env: the environment; `os.environ` if None.
      prog: how help names the command, such as `python -m exphil_tf.train`.
      presets: folder of `<name>.yaml` for a command that has `--preset`; None for one without.

    Raises: UserError: if any source is wrong (exit code 2, or 66 for a missing file).
    """
    return _load(cls, argv, env=env, prog=prog, presets=presets, partial=False)[0]


def load_partial(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    prog: str | None = None,
) -> tuple[T, list[str]]:
    """As `load`, but hands back the arguments it doesn't know, for another parser (Beam's)."""
    return _load(cls, argv, env=env, prog=prog, presets=None, partial=True)


def from_dict(cls: type[T], values: Mapping[str, object], *, origin: str = "values") -> T:
    """Builds a configuration from `to_dict`'s plain values, as strictly as from a YAML file."""
    known = options(cls)
    tokens = _tokens_by_name(_named(values, known, origin))
    return _parse(cls, [t for group in tokens.values() for t in group], prog=None, partial=False)[0]


def preset_names(presets: Path = PRESETS) -> list[str]:
    """Names that `--preset` takes, sorted."""
    return sorted(path.stem for path in presets.glob("*.yaml"))


class _Arguments(NamedTuple):
    """argv taken apart: our own two flags out, aliases replaced, names that it sets noted."""

    tokens: list[str]
    names: set[str]
    preset: str | None
    files: list[Path]


class _Setting(NamedTuple):
    """One value of a file or of the environment, with what an error calls it."""

    origin: str
    option: Option
    value: object


def _load(
    cls: type[T],
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    prog: str | None,
    presets: Path | None,
    partial: bool,
) -> tuple[T, list[str]]:
    environment = os.environ if env is None else env
    known = options(cls)
    arguments = _read_arguments(argv, known, takes_preset=presets is not None, partial=partial)
    settings: list[_Setting] = []
    if presets is not None:
        preset = arguments.preset or environment.get(ENV_PREFIX + "DEFAULT_PRESET")
        settings += _read_preset(preset, presets, known) if preset else []
    for path in arguments.files:
        settings += _named(_read_yaml(path), known, str(path))
    settings += _read_environment(environment, known)
    tokens = _tokens_by_name(settings)
    lower = [t for name, group in tokens.items() if name not in arguments.names for t in group]
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
    helps = {"-h", "--help"} & set(tokens)
    default: Any = {}
    if helps:  # show the values that the other sources give, where they make a valid whole
        with contextlib.suppress(UserError):
            rest = [t for t in tokens if t not in helps]
            default = {"default": _parse(cls, rest, prog=prog, partial=partial)[0]}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                cls,
                args=tokens,
                prog=prog,
                description=_describe_command(cls, presets),
                return_unknown_args=True,
                config=(tyro.conf.OmitArgPrefixes,),
                **default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_sentence(complaint.getvalue()), _see_help(prog)) from None
    config, unknown = typing.cast(tuple[T, list[str]], parsed)
    if unknown and not partial:
        raise UserError(f"unexpected argument: {' '.join(unknown)}", _see_help(prog))
    return config, unknown


def _describe_command(cls: type, presets: Path | None) -> str:
    lines = [(cls.__doc__ or "").strip(), ""]
    ranks = "defaults < --config FILE.yaml < EXPHIL_* environment < flags"
    if presets is not None:
        ranks = ranks.replace("--config", "--preset NAME < --config", 1)
        lines += [f"Presets: {', '.join(preset_names(presets))}.", ""]
    lines += [f"Each option may also stand in a file or in the environment: {ranks}."]
    return "\n".join(lines).strip()


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
    return sentence or "invalid arguments"


# -- Sources -----------------------------------------------------------------------------------------


def _read_arguments(
    argv: Sequence[str], known: Mapping[str, Option], *, takes_preset: bool, partial: bool
) -> _Arguments:
    result = _Arguments([], set(), None, [])
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token.startswith(("--help", "--tyro-")):
            result.tokens.append(token)
            continue
        flag, equals, value = token.partition("=")
        name = flag[2:].replace("-", "_")
        if name == "config" or (name == "preset" and takes_preset):
            if not equals:
                value = rest.pop(0) if rest and not rest[0].startswith("--") else ""
            if not value:
                raise UserError(f"{flag}: want a {'file' if name == 'config' else 'name'} after it")
            if name == "config":
                result.files.append(Path(value))
            else:
                result = result._replace(preset=value)
            continue
        option = _option_of_flag(name, known)
        if option is None:
            if not partial:
                raise _unknown(
                    name, known, origin=flag, extra=("config", "preset")[: 1 + takes_preset]
                )
            result.tokens.append(token)
            continue
        result.names.add(option.name)
        result.tokens.extend(_rewritten(token, option))
        if _is_scalar(option.annotation) and (equals or (rest and not rest[0].startswith("--"))):
            _check(_Setting(flag, option, value if equals else rest[0]))
    return result


def _option_of_flag(name: str, known: Mapping[str, Option]) -> Option | None:
    if name in SHORTHANDS and name not in known:
        name = SHORTHANDS[name][0]
    option = known.get(name) or known.get(ALIASES.get(name, ""))
    if option is None and name.startswith("no_"):
        option = known.get(name[3:])
        if option is not None and option.annotation is not bool:
            return None
    return option


def _rewritten(token: str, option: Option) -> list[str]:
    """The token under the option's own name (aliases and shorthands replaced)."""
    flag, equals, value = token.partition("=")
    name = flag[2:].replace("-", "_")
    if name in SHORTHANDS and name != option.name:
        return [f"{option.flag}={SHORTHANDS[name][1]}"]
    if option.annotation is bool:
        if equals:
            return [_bool_flag(option, _as_bool(_Setting(flag, option, value)))]
        return [_bool_flag(option, name == option.name or not name.startswith("no_"))]
    return [option.flag + equals + value]


def _read_preset(name: str, presets: Path, known: Mapping[str, Option]) -> list[_Setting]:
    """A preset's settings after those of its `base`, which it inherits."""
    settings: list[_Setting] = []
    chain: list[str] = []
    current: str | None = name
    while current is not None:
        path = presets / f"{current}.yaml"
        if current in chain:
            raise UserError(f"{path}: base: a preset can't inherit from itself: {chain}")
        if current not in preset_names(presets):
            near = _nearest(current, preset_names(presets))
            message = f"unknown preset {current!r}"
            raise UserError(message, f"{near}Presets: {', '.join(preset_names(presets))}.")
        chain.append(current)
        values = _read_yaml(path)
        base = values.pop("base", None)
        settings = _named(values, known, str(path.name)) + settings
        current = None if base is None else str(base)
    return settings


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which moreover refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: {key} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, object]:
    """A file's flat mapping; an empty file is an empty mapping."""
    try:
        loader = _UniqueKeyLoader(path.read_text(encoding="utf-8"))
        values: object = loader.get_single_data()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", exit_code=EXIT_NO_INPUT) from None
    except IsADirectoryError:
        raise UserError(f"{path}: want a YAML file, this is a folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: want `name: value` lines. Received: {type(values).__name__}")
    return {str(key): value for key, value in typing.cast(dict[object, object], values).items()}


def _named(
    values: Mapping[str, object], known: Mapping[str, Option], source: str
) -> list[_Setting]:
    settings: dict[str, _Setting] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        option = known.get(name) or known.get(ALIASES.get(name, ""))
        if option is None:
            raise _unknown(name, known, origin=f"{source}: {key}")
        if option.is_positional:
            raise UserError(f"{source}: {key}: give it on the command line, it is an argument")
        if option.name in settings:
            raise UserError(f"{source}: {key}: {option.name} is given twice")
        settings[option.name] = _Setting(f"{source}: {key}", option, value)
    return list(settings.values())


def _read_environment(env: Mapping[str, str], known: Mapping[str, Option]) -> list[_Setting]:
    """Settings from `EXPHIL_*`; an empty variable counts as unset, as compose files pass them."""
    values: dict[str, object] = {}
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX) or not env[variable]:
            continue
        key = variable.removeprefix(ENV_PREFIX)
        name = ALIASES.get(key.lower(), key.lower())
        if key.lower() in known or name in known:
            values[variable] = env[variable]
        elif name not in _RESERVED and name not in _names_of_all_commands():
            raise _unknown(key.lower(), dict.fromkeys(_names_of_all_commands()), origin=variable)
    by_name = {variable.removeprefix(ENV_PREFIX).lower(): v for variable, v in values.items()}
    settings = _named(by_name, known, "environment")
    return [s._replace(origin=s.option.variable) for s in settings]


def _names_of_all_commands() -> set[str]:
    """Options of every command, one a line (a test keeps the list fresh).

    The list is data, as this module may not import the commands, which stand above it.
    """
    return (
        set(KNOWN_OPTIONS.read_text(encoding="utf-8").split()) if KNOWN_OPTIONS.exists() else set()
    )


def _unknown(
    name: str, known: Mapping[str, object], *, origin: str, extra: Sequence[str] = ()
) -> UserError:
    bare = name.removeprefix("no_")
    if bare in RETIRED:
        return UserError(f"{origin}: not an option here", f"{RETIRED[bare].capitalize()}.")
    near = _nearest(name, [*known, *ALIASES, *extra], origin=origin)
    return UserError(f"{origin}: unknown option", near or "See --help for the options.")


def _nearest(name: str, known: Iterable[str], *, origin: str = "") -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    if not close:
        return ""
    near = ALIASES.get(close[0], close[0])
    if origin.startswith("--"):
        near = "--" + near.replace("_", "-")
    elif origin.startswith(ENV_PREFIX):
        near = ENV_PREFIX + near.upper()
    elif "-" in origin:
        near = near.replace("_", "-")
    return f"Did you mean {near}? "


# -- Values ------------------------------------------------------------------------------------------


def _tokens_by_name(settings: Iterable[_Setting]) -> dict[str, list[str]]:
    """Checked flag tokens by option; of several settings of one option the last wins."""
    return {setting.option.name: _check(setting) for setting in settings}


def _check(setting: _Setting) -> list[str]:
    """Flag tokens of one setting, after its value alone has passed tyro's typing.

    Raises: UserError: names the file and key, the variable or the flag, and what is wanted.
    """
    option, value = setting.option, setting.value
    if option.annotation is bool:
        return [_bool_flag(option, _as_bool(setting))]
    if isinstance(value, bool) and not _accepts(option.annotation, bool):
        raise _wrong(setting, hint=" (put a word such as no or on in quotes)")
    words = _words(setting)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            tyro.cli(option.annotation, args=words)
    except SystemExit:
        raise _wrong(setting) from None
    if _is_scalar(option.annotation):
        return [f"{option.flag}={words[0]}"]
    return [option.flag, *words]


def _words(setting: _Setting) -> list[str]:
    value, option = setting.value, setting.option
    if isinstance(value, (list, tuple)):
        words = ["None" if v is None else str(v) for v in typing.cast(Iterable[object], value)]
    elif isinstance(value, dict):
        raise _wrong(setting)
    elif value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        words = ["None"]
    elif _is_scalar(option.annotation):
        words = [str(value)]
    else:
        words = re.split(r"[\s,]+", str(value).strip()) if str(value).strip() else []
    if any(word.startswith("--") for word in words) or (
        _is_scalar(option.annotation) and len(words) != 1
    ):
        raise _wrong(setting)
    return words


def _as_bool(setting: _Setting) -> bool:
    word = str(setting.value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise _wrong(setting)
    return word in _TRUE


def _bool_flag(option: Option, value: bool) -> str:
    return option.flag if value else "--no-" + option.flag[2:]


def _wrong(setting: _Setting, hint: str = "") -> UserError:
    later = PLANNED.get((setting.option.name, str(setting.value)))
    if later is not None:
        return UserError(f"{setting.origin}: {setting.value} {later}")
    want = _describe(setting.option.annotation)
    return UserError(f"{setting.origin}: want {want}{hint}. Received: {setting.value!r}")


def _is_scalar(annotation: Any) -> bool:
    """Whether a value is one word (bools, which are flag pairs, apart)."""
    if annotation is bool:
        return False
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return not any(_is_list(member) for member in members)


def _is_list(annotation: Any) -> bool:
    return (typing.get_origin(annotation) or annotation) in (tuple, list, set, frozenset)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _accepts(annotation: Any, kind: type) -> bool:
    return kind in typing.get_args(annotation) if _is_union(annotation) else annotation is kind


def _describe(annotation: Any) -> str:
    """A type in words: `one of adam, adamw`, `a list of int`, `int or none`."""
    if _is_union(annotation):
        return " or ".join(_describe(member) for member in typing.get_args(annotation))
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ("one of " if len(members) > 1 else "") + ", ".join(str(m) for m in members)
    if _is_list(annotation):
        return f"a list of {_describe(members[0]) if members else 'values'}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(member.name for member in annotation)
    if annotation is type(None):
        return "none"
    if annotation is bool:
        return "true or false"
    return {int: "an integer", float: "a number", str: "a word", Path: "a path"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )
