"""The options of a command: its leaf fields, their names elsewhere, and the typing of one value.

An *option* is a leaf field of a command's root dataclass; its *name* is the field's (`batch_size`),
its flag is flat whatever the nesting (`--batch-size`), its variable is `EXPHIL_BATCH_SIZE`, its key
in YAML is either spelling. Names are therefore unique in a command; a clash is refused at once.

A *setting* is one value for one option together with what an error calls it (`run.yaml: lr`).
Every setting, from wherever, becomes flag tokens that tyro types: one parser decides what is an
integer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import io
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from exphil_tf.foundation.errors import UserError, shown

ENV_PREFIX = "EXPHIL_"
RESERVED = ("config", "preset", "default_preset", "help", "pseudonym_secret")
"""Names of no option; those of variables that are read elsewhere."""

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
    # Of `exphil_tf.distill`, where the network that is described is the student's.
    "student_backbone": "backbone",
    "student_hidden": "hidden",
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
    "pseudonym_secret": "set it in the environment, as EXPHIL_PSEUDONYM_SECRET: command lines and "
    "files are seen by others",
    "prefetch_buffer": "tf.data chooses the buffer, so drop it",
    "stream_chunk_size": _STREAMED,
    "val_concurrency": "validation runs in the same compiled step as training, so drop it",
}
# Values that users of the original know, or that a later release brings: (option, value) -> what to
# say.
_LATER = "comes in a later release; mlp, lstm, mamba and sliding_window are there now"
PLANNED: dict[tuple[str, str], str] = {
    ("backbone", "attention"): "is called sliding_window here",
    ("backbone", "gru"): _LATER,
    ("backbone", "hybrid"): _LATER,
    ("backbone", "jamba"): _LATER,
    ("backbone", "lstm_hybrid"): _LATER,
    ("backbone", "mamba_nif"): "is called mamba here, whatever runs it",
}


class Exclusive(NamedTuple):
    """Options of which one makes another pointless: what ranks higher drops the others below it.

    A variable set for every command (`EXPHIL_REPLAYS_DIR`) is a default, not a choice: it must not
    contradict the flag that chooses the alternative. Two of one rank still do.
    """

    names: tuple[str, ...]
    neutral: tuple[str, ...] = ()
    """Values that go together with the others."""
    of: tuple[str, ...] = ("files", "saved", "variables")
    """Sources whose choice yields; in others, two alternatives are for the command to refuse."""

    def is_choice(self, value: object) -> bool:
        """Whether a value chooses this alternative; none and empty ones choose nothing."""
        if value is None or value in ("", [], ()):
            return False
        return str(value).strip().lower() not in (*_NONE, *self.neutral)


_IN_WORDS: dict[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "an integer",
    str: "a word",
    Path: "a path",
    type(None): "none",
}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NONE = ("none", "null")
EXCLUSIVE = (
    Exclusive(("replays", "data")),
    Exclusive(("resume", "name", "run_dir"), neutral=("auto",), of=("files", "variables")),
    Exclusive(("resume", "overwrite"), neutral=_FALSE, of=("files", "variables")),
    Exclusive(("backbone", "temporal"), of=("variables",)),
)
SWITCH_WORDS = ("true", "yes", "on", "false", "no", "off", "none")


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
    def is_switch(self) -> bool:
        """Whether it is a bool, or a bool that may be left open: `--x` and `--no-x` set it."""
        members = typing.get_args(self.annotation) if _is_union(self.annotation) else ()
        return self.annotation is bool or set(members) == {bool, type(None)}

    @property
    def variable(self) -> str:
        """The environment variable, `EXPHIL_BATCH_SIZE`."""
        return ENV_PREFIX + self.name.upper()


class Setting(NamedTuple):
    """One value for one option, with what an error calls it."""

    origin: str
    """`--lr`, `run.yaml: lr` or `EXPHIL_LR`."""
    option: Option
    value: object
    """As the source gives it: text, or what YAML made of it."""


def options(cls: type) -> dict[str, Option]:
    """Every option of a root dataclass by name, in declared order.

    Raises: TypeError: if two nested dataclasses have a leaf of the same name, or one is reserved.
    """
    found: dict[str, Option] = {}
    for option in _leaves(cls, ()):
        if option.name in found:
            one, two = (".".join(o.path) for o in (found[option.name], option))
            raise TypeError(f"{cls.__name__}: {one} and {two} would share the flag {option.flag}")
        if option.name in RESERVED:
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
            if tyro.conf.Fixed in markers:
                continue  # set by the command itself
            positional = any("Positional" in repr(marker) for marker in markers)
        here = (*path, field.name)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            yield from _leaves(annotation, here)
        else:
            yield Option(field.name, here, annotation, positional)


def find(name: str, known: Mapping[str, Option]) -> Option | None:
    """The option of that name or of a name that the original trainer gave it; None if unknown."""
    return known.get(name) or known.get(ALIASES.get(name, ""))


def unknown(name: str, known: Iterable[str], *, origin: str) -> UserError:
    """The error for a name that is no option: what took over, or the nearest known name."""
    bare = name.removeprefix("no_")
    if bare in RETIRED:
        instead = RETIRED[bare]
        return UserError(f"{origin}: not an option here", f"{instead[0].upper()}{instead[1:]}.")
    names = set(known)
    names |= {alias for alias, target in ALIASES.items() if target in names}
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    if not close:
        return UserError(f"{origin}: unknown option", "See --help for the options.")
    near = ALIASES.get(close[0], close[0]) if close[0] not in known else close[0]
    return UserError(f"{origin}: unknown option", f"Did you mean {_spelt_like(origin, near)}?")


def _spelt_like(origin: str, name: str) -> str:
    """A name in the spelling of the place it is suggested for."""
    if origin.startswith("--"):
        return "--" + name.replace("_", "-")
    if origin.startswith(ENV_PREFIX):
        return ENV_PREFIX + name.upper()
    return name.replace("_", "-") if "-" in origin.rpartition(": ")[2] else name


def ranked(
    files: list[Setting],
    variables: list[Setting],
    *,
    saved: list[Setting],
    arguments: Mapping[str, object],
) -> list[Setting]:
    """Settings from below the arguments, lowest rank first, without what a choice above drops."""
    variables = _not_dropped("variables", variables, _values(saved), arguments)
    above = _values(variables), arguments
    kept = _not_dropped("saved", saved, *above)
    return [*_not_dropped("files", files, _values(kept), *above), *kept, *variables]


def _values(settings: Iterable[Setting]) -> dict[str, object]:
    return {setting.option.name: setting.value for setting in settings}


def _not_dropped(
    source: str, settings: list[Setting], *above: Mapping[str, object]
) -> list[Setting]:
    """A source's settings but for those whose alternative a source above has chosen."""
    chosen = {
        (group, name)
        for group in EXCLUSIVE
        if source in group.of
        for values in above
        for name in group.names
        if group.is_choice(values.get(name))
    }
    return [
        setting
        for setting in settings
        if not any(
            setting.option.name in group.names
            and setting.option.name != name
            and group.is_choice(setting.value)
            for group, name in chosen
        )
    ]


def tokens_by_name(settings: Iterable[Setting]) -> dict[str, list[str]]:
    """Checked flag tokens by option; of several settings of one option the last wins."""
    return {setting.option.name: tokens_of(setting) for setting in settings}


def tokens_of(setting: Setting) -> list[str]:
    """Flag tokens of one setting, after its value alone has passed tyro's typing.

    Raises: UserError: names the file and key, the variable or the flag, and what is wanted.
    """
    option, value = setting.option, setting.value
    if option.is_switch:
        return [switch_token(setting)]
    if isinstance(value, bool):
        raise _wrong(setting, hint=" (put a word such as no or on in quotes)")
    words = _words(setting)
    alone = dataclasses.make_dataclass("Alone", [("value", option.annotation)])
    args = [f"--value={words[0]}"] if is_scalar(option.annotation) else ["--value", *words]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            tyro.cli(alone, args=args)
    except SystemExit:
        raise _wrong(setting) from None
    return [args[0].replace("--value", option.flag, 1), *args[1:]]


def _words(setting: Setting) -> list[str]:
    value, option = setting.value, setting.option
    if isinstance(value, (list, tuple)):
        words = ["None" if v is None else str(v) for v in typing.cast(Iterable[object], value)]
    elif isinstance(value, dict):
        raise _wrong(setting)
    elif value is None or (isinstance(value, str) and value.lower() in _NONE):
        words = ["None"]
    elif is_scalar(option.annotation):
        words = [str(value)]
    else:
        words = re.split(r"[\s,]+", str(value).strip()) if str(value).strip() else []
    if any(word.startswith("--") for word in words) or (
        is_scalar(option.annotation) and len(words) != 1
    ):
        raise _wrong(setting)
    return words


def switch_token(setting: Setting) -> str:
    """The token of a switch: true/false, yes/no, on/off, 1/0, and none if it may be left open."""
    option, word = setting.option, str(setting.value).strip().lower()
    if option.annotation is not bool and word in _NONE:
        return f"{option.flag}=None"
    if word not in _TRUE + _FALSE:
        raise _wrong(setting)
    if option.annotation is not bool:
        return f"{option.flag}={word in _TRUE}"
    return option.flag if word in _TRUE else "--no-" + option.flag[2:]


def _wrong(setting: Setting, hint: str = "") -> UserError:
    word = setting.value if isinstance(setting.value, str) else ""
    later = PLANNED.get((setting.option.name, word))
    if later is not None:
        return UserError(f"{setting.origin}: {word} {later}")
    want = _describe(setting.option.annotation)
    return UserError(f"{setting.origin}: want {want}{hint}. Received: {shown(setting.value)}")


def is_scalar(annotation: Any) -> bool:
    """Whether a value is one word, not a list of them."""
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return not any(_is_list(member) for member in members)


def is_list_of_numbers(annotation: Any) -> bool:
    """Whether a value is a list of numbers, which commas may part too: `--hidden 64,64`."""
    return _is_list(annotation) and typing.get_args(annotation)[:1] in ((int,), (float,))


def _is_list(annotation: Any) -> bool:
    return (typing.get_origin(annotation) or annotation) in (tuple, list, set, frozenset)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _describe(annotation: Any) -> str:
    """A type in words: `one of adam, adamw`, `a list of int`, `an integer or none`."""
    members = typing.get_args(annotation)
    if _is_union(annotation):
        return " or ".join(_describe(member) for member in members)
    if typing.get_origin(annotation) is Literal:
        return ("one of " if len(members) > 1 else "") + ", ".join(str(m) for m in members)
    if _is_list(annotation):
        return f"a list of {getattr(members[0], '__name__', members[0]) if members else 'values'}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(member.name for member in annotation)
    return _IN_WORDS.get(annotation, repr(typing.cast(object, annotation)))
