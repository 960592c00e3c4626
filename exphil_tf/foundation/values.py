"""The typing of one value, from wherever it comes, by tyro's rules for the option's type.

A *setting* is one value for one option together with what an error calls it (`run.yaml: lr`) and
its rank among the sources.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from exphil_tf.foundation.errors import UserError, shown
from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.options import Option


class Rank(enum.IntEnum):
    """Where a value may come from, the lowest first."""

    DEFAULT = 0
    PRESET = 1
    FILE = 2
    SAVED = 3
    """The options of a run that goes on, or that another starts from."""
    VARIABLE = 4
    FLAG = 5


class Source(NamedTuple):
    """Where an option's value was given."""

    rank: Rank
    origin: str
    """What an error calls it: `--lr`, `run.yaml:3: lr` or `EXPHIL_LR`."""


class Setting(NamedTuple):
    """One value for one option, with what an error calls it."""

    origin: str
    option: Option
    value: object
    """As the source gives it: text, or what YAML made of it."""
    rank: Rank


_IN_WORDS: dict[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "an integer",
    str: "a word",
    Path: "a path",
    type(None): "none",
}
_PLURALS: dict[Any, str] = {float: "numbers", int: "integers", Path: "paths"}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NONE = ("none", "null")
FALSE = _FALSE
_MAX_INTEGER = 1 << 63
SWITCH_WORDS = ("true", "yes", "on", "false", "no", "off", "none")


def typed(setting: Setting) -> Any:
    """The value of a setting as its option's type has it.

    Raises: UserError: names the file and key, the variable or the flag, and what is wanted.
    """
    option, value = setting.option, setting.value
    if option.is_switch:
        return _switch(setting)
    if isinstance(value, bool):
        raise _wrong(setting, hint=" (put a word such as no or on in quotes)")
    words = _words(setting)
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(option.annotation, set()))
    if not isinstance(spec, PrimitiveConstructorSpec):
        raise TypeError(f"{option.name}: want a type that words can tell: {option.annotation}")
    try:
        found = spec.instance_from_str(words)
    except (ValueError, OverflowError):
        raise _wrong(setting) from None
    if not all(map(_is_number_of_use, found if isinstance(found, tuple) else (found,))):
        raise _wrong(setting)
    return found


def _is_number_of_use(value: object) -> bool:
    """Whether a value is no NaN, which few bounds refuse, and no integer beyond 64 bits."""
    if isinstance(value, int):
        return -_MAX_INTEGER <= value < _MAX_INTEGER
    return value == value  # noqa: PLR0124 - NaN is not


def tokens(setting: Setting) -> list[str]:
    """The flag and its words, as help shows what is in force."""
    option = setting.option
    if option.is_switch:
        value = _switch(setting)
        if value is None:
            return [f"{option.flag}=None"]
        return [option.flag if value else f"--no-{option.flag[2:]}"]
    words = _words(setting)
    return [f"{option.flag}={words[0]}"] if is_scalar(option.annotation) else [option.flag, *words]


def _words(setting: Setting) -> list[str]:
    value, annotation = setting.value, setting.option.annotation
    if isinstance(value, (list, tuple)):
        words = ["None" if v is None else str(v) for v in typing.cast(Iterable[object], value)]
    elif isinstance(value, dict):
        raise _wrong(setting)
    elif value is None or (isinstance(value, str) and value.lower() in NONE and _may_lack(setting)):
        words = ["None"]
    elif is_scalar(annotation):
        words = [_called(setting.option, str(value))]
    else:
        words = re.split(r"[\s,]+", str(value).strip()) if str(value).strip() else []
    is_short = is_scalar(annotation) and len(words) != 1
    is_flag = not setting.option.holds_options and any(_is_flag(word) for word in words)
    if is_short or is_flag or _is_blank_path(setting, words):
        raise _wrong(setting)
    return words


def _is_flag(word: str) -> bool:
    """A flag whose value is missing before it; no name of a flag has a space."""
    return word.startswith("--") and " " not in word.strip()


def _is_blank_path(setting: Setting, words: Sequence[str]) -> bool:
    """Whether a flag names a place by nothing, as an unset variable of a shell does: not here."""
    option = setting.option
    is_path = Path in _members(option.annotation) or option.kind in (Kind.PLACE, Kind.SOURCE)
    is_given = setting.rank is Rank.FLAG and setting.value != option.default
    return "" in words and is_given and (is_path or not is_scalar(option.annotation))


def _called(option: Option, word: str) -> str:
    """What a word is called here, where it chooses one of a family."""
    if option.family is None or not option.is_choice:
        return word
    return option.family.called.get(word, word)


def _may_lack(setting: Setting) -> bool:
    """Whether `none` means that there is no value; as a flag's word it may be a file's name."""
    members = typing.get_args(setting.option.annotation)
    return type(None) in members and not (setting.rank is Rank.FLAG and str in members)


def _switch(setting: Setting) -> bool | None:
    """true/false, yes/no, on/off, 1/0, and none if it may be left open."""
    word = str(setting.value).strip().lower()
    if setting.option.annotation is not bool and word in NONE:
        return None
    if word not in _TRUE + _FALSE:
        raise _wrong(setting)
    return word in _TRUE


def _wrong(setting: Setting, hint: str = "") -> UserError:
    option = setting.option
    want = describe(option.annotation)
    return UserError(f"{setting.origin}: want {want}{hint}. Received: {shown(setting.value)}")


def is_scalar(annotation: Any) -> bool:
    """Whether a value is one word, not a list of them."""
    return not any(_is_list(member) for member in _members(annotation))


def _is_list(annotation: Any) -> bool:
    return (typing.get_origin(annotation) or annotation) in (tuple, list, set, frozenset)


def _members(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if _is_union(annotation) else (annotation,)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def describe(annotation: Any) -> str:
    """A type in words: `one of adam, adamw`, `a list of integers`, `an integer or none`."""
    members = typing.get_args(annotation)
    if _is_union(annotation):
        return " or ".join(describe(member) for member in members)
    if typing.get_origin(annotation) is Literal:
        return ("one of " if len(members) > 1 else "") + ", ".join(str(m) for m in members)
    if _is_list(annotation):
        if typing.get_origin(members[0]) is Literal:
            return f"some of {', '.join(map(str, typing.get_args(members[0])))}"
        return f"a list of {_PLURALS.get(members[0], 'words') if members else 'values'}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(member.name for member in annotation)
    return _IN_WORDS.get(annotation, repr(typing.cast(object, annotation)))
