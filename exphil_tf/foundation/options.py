"""The options of a command: its leaf fields, their names, and their other names.

An *option* is a leaf field of a command's root dataclass; its *name* is the field's (`batch_size`),
its flag is flat whatever the nesting (`--batch-size`), its variable is `EXPHIL_BATCH_SIZE`, its key
in YAML is either spelling. Names are therefore unique in a command; a clash is refused at once.

A field may hold one of several dataclasses (`kinds.family`): then the options of all of them are
options of the command, and another option chooses which of them there are.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import tyro

from exphil_tf.foundation import former_options
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import (
    Family,
    Kind,
    declared_of,
    family_of,
    fields_of,
)

ENV_PREFIX = "EXPHIL_"
RESERVED = ("config", "preset", "default_preset", "help", "pseudonym_secret", "webhook_url")
"""Names of no option; those of variables that are read elsewhere."""
MISSING = dataclasses.MISSING
"""Default of an option that has to be given."""


class Option(NamedTuple):
    """One option of a command: a leaf of its nested dataclasses."""

    name: str
    """Field name, snake case; unique in the command."""
    path: tuple[str, ...]
    """Field names from the root down to the leaf."""
    annotation: Any
    """Type of the value, without `Annotated`."""
    default: Any
    """Value where it is not given; `MISSING` if it must be. Of an option of several alternatives,
    that of the first one."""
    is_positional: bool = False
    """Whether it is given by place, not by flag, and hence only on the command line."""
    kind: Kind | None = None
    """What it decides."""
    only_with: Mapping[str, tuple[object, ...]] = {}
    """See `kinds.option`."""
    only_without: tuple[str, ...] = ()
    """See `kinds.option`."""
    family: Family | None = None
    """The family that it belongs to, or that it chooses from."""
    former: Any = None
    """See `kinds.option`."""
    off: tuple[object, ...] = ()
    """See `kinds.option`."""
    holds_options: bool = False
    """See `kinds.other_options`."""

    @property
    def flag(self) -> str:
        """The flag as typed, `--batch-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether it is a bool, or a bool that may be left open: `--x` and `--no-x` set it."""
        return self.annotation is bool or set(typing.get_args(self.annotation)) == {
            bool,
            type(None),
        }

    @property
    def takes_commas(self) -> bool:
        """Whether commas may part the words of a flag with several; a path's are its own."""
        return self.kind is not Kind.SOURCE and not self.is_positional

    @property
    def variable(self) -> str:
        """The environment variable, `EXPHIL_BATCH_SIZE`."""
        return ENV_PREFIX + self.name.upper()

    @property
    def is_choice(self) -> bool:
        """Whether it chooses one of a family."""
        return self.family is not None and self.family.by == self.name

    def is_of(self, chosen: str) -> bool:
        """Whether it is an option if that alternative of its family is chosen."""
        return self.family is None or self.is_choice or chosen in self.family.having(self.name)


@functools.cache
def options(cls: type) -> Mapping[str, Option]:
    """Every option of a root dataclass by name, in declared order, of all alternatives.

    Raises: TypeError: if two nested dataclasses have a leaf of the same name, or one is reserved.
    """
    found: dict[str, Option] = {}
    for option in _leaves(cls, (), None):
        other = found.setdefault(option.name, option)
        if other.path != option.path or other.annotation != option.annotation:
            one, two = (".".join(o.path) for o in (other, option))
            raise TypeError(f"{cls.__name__}: {one} and {two} would share the flag {option.flag}")
        if option.name in RESERVED:
            raise TypeError(f"{cls.__name__}: {'.'.join(option.path)}: this name is reserved")
    return found


def _leaves(cls: type, path: tuple[str, ...], instance: object | None) -> Iterator[Option]:
    """The options of a dataclass; their defaults are those of an instance, if one is given."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for name, field in fields_of(cls).items():
        annotation, markers = hints[name], ()
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *markers = typing.get_args(annotation)
        here, default = (*path, name), default_of(field, instance)
        if tyro.conf.Fixed in markers:
            continue  # set by the command itself
        if (family := family_of(field)) is not None:
            yield from _leaves_of_family(family, here)
        elif is_dataclass_type(annotation):
            yield from _leaves(annotation, here, None if default is MISSING else default)
        else:
            declared = declared_of(cls, field)
            positional = any("Positional" in repr(marker) for marker in markers)
            told = declared.kind, declared.only_with, declared.only_without
            made = Option(name, here, annotation, default, positional, *told)
            yield made._replace(
                former=declared.former, off=declared.off, holds_options=declared.holds_options
            )


def _leaves_of_family(family: Family, path: tuple[str, ...]) -> Iterator[Option]:
    choices = Literal[*family.alternatives]  # pyright: ignore[reportInvalidTypeForm]
    choice = Option(family.by, (*path, family.by), choices, family.default)
    yield choice._replace(kind=family.kind, family=family)
    for cls in family.alternatives.values():
        for option in _leaves(cls, path, None):
            default = family.common.get(option.name, option.default)
            yield option._replace(default=default, family=family)


def default_of(field: dataclasses.Field[Any], instance: object | None) -> Any:
    """A field's default: an instance's value, or what is declared; `MISSING` if nothing is."""
    if instance is not None:
        return getattr(instance, field.name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def is_dataclass_type(annotation: Any) -> bool:
    """Whether a field of that type holds options, instead of being one."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def find(name: str, known: Mapping[str, Option]) -> Option | None:
    """The option of that name or of a name that the original trainer gave it; None if unknown."""
    return known.get(name) or known.get(former_options.renamed(name, known) or "")


def unknown(name: str, known: Iterable[str], *, origin: str) -> UserError:
    """The error for a name that is no option: what took over, or the nearest known name."""
    instead = former_options.refusal(name)
    if instead is not None:
        return UserError(f"{origin}: not an option here", f"{instead[0].upper()}{instead[1:]}.")
    here = set(known)
    others = {alias: former_options.renamed(alias, here) for alias in former_options.FORMER}
    names = here | {alias for alias, target in others.items() if target}
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    if not close:
        return UserError(f"{origin}: unknown option", "See --help for the options.")
    near = close[0] if close[0] in here else others[close[0]] or close[0]
    return UserError(f"{origin}: unknown option", f"Did you mean {_spelt_like(origin, near)}?")


def _spelt_like(origin: str, name: str) -> str:
    """A name in the spelling of the place it is suggested for."""
    if origin.startswith("--"):
        return "--" + name.replace("_", "-")
    if origin.startswith(ENV_PREFIX):
        return ENV_PREFIX + name.upper()
    return name.replace("_", "-") if "-" in origin.rpartition(": ")[2] else name
