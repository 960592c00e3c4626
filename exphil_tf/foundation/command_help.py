"""What `--help` prints: tyro's page of a command, with all options of all alternatives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NoReturn

import tyro
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from exphil_tf.foundation.kinds import Family, family_of, fields_of

_SECRET = re.compile(r"token|password|secret|credential|(api|app|access|private)_?key|key_id")


def is_secret(name: str) -> bool:
    """Whether an option's value is shown to nobody."""
    return _SECRET.search(name) is not None


def show(
    cls: type,
    flags: Sequence[str],
    *,
    prog: str | None,
    presets: Sequence[str] | None,
    in_force: Sequence[str],
) -> NoReturn:
    """Prints help, or a shell's completion, and exits.

    Args:
      cls: the command's root dataclass.
      flags: `--help`, or tyro's for completion.
      prog: how the command is called.
      presets: their names, None for a command without.
      in_force: flags and words of what the sources set.
    """
    registry = ConstructorRegistry()
    registry.struct_rule(_rule())
    tyro.cli(
        cls,
        args=list(flags),
        prog=prog,
        description=_describe(cls, presets, in_force),
        config=(tyro.conf.OmitArgPrefixes,),
        registry=registry,
    )
    raise SystemExit(0)


def _describe(cls: type, presets: Sequence[str] | None, in_force: Sequence[str]) -> str:
    """What help says above the options: purpose, presets, ranks, and what the sources have set."""
    ranks = "defaults < --config FILE.yaml < EXPHIL_* environment < flags"
    paragraphs = [(cls.__doc__ or "").strip()]
    if presets is not None:
        ranks = ranks.replace("--config", "--preset NAME < --config", 1)
        paragraphs.append(f"Presets: {', '.join(presets)}.")
    paragraphs.append(f"Each option may also stand in a file or in the environment: {ranks}.")
    if in_force:
        paragraphs.append(f"Now in force besides the defaults: {' '.join(_masked(in_force))}")
    return "\n\n".join(paragraphs)


def _masked(tokens: Iterable[str]) -> Iterator[str]:
    """The tokens with `…` for the value of each secret."""
    hides = False
    for token in tokens:
        if token.startswith("--"):
            flag, equals, _ = token.partition("=")
            hides = is_secret(flag.replace("-", "_"))
            yield f"{flag}=…" if hides and equals else token
        else:
            yield "…" if hides else token


def _rule() -> Callable[[StructTypeInfo], StructConstructorSpec | None]:
    """Tyro's own rule, without fields that are no options, and with those of every alternative."""
    asked: set[type] = set()  # by this rule itself, so that tyro's own answers

    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        if not dataclasses.is_dataclass(info.type) or info.type in asked:
            return None
        asked.add(info.type)
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            asked.discard(info.type)
        assert isinstance(spec, StructConstructorSpec)
        own, families = fields_of(info.type), _families(info.type)
        fields = [
            dataclasses.replace(
                field, type=_stand_in(families[field.name]), default=MISSING_NONPROP
            )
            if field.name in families
            else field
            for field in spec.fields
            if field.name in own
        ]
        return StructConstructorSpec(instantiate=spec.instantiate, fields=tuple(fields))

    return rule


def _families(cls: type) -> dict[str, Family]:
    found = {name: family_of(field) for name, field in fields_of(cls).items()}
    return {name: family for name, family in found.items() if family is not None}


def _stand_in_field(field: StructFieldSpec, family: Family) -> StructFieldSpec:
    return dataclasses.replace(field, type=_stand_in(family), default=MISSING_NONPROP)


def _stand_in(family: Family) -> Any:
    """A dataclass with the options of every alternative, each saying whose it is."""
    choices = Literal[*family.alternatives]  # pyright: ignore[reportInvalidTypeForm]
    fields: dict[str, tuple[Any, Any, str]] = {family.by: (choices, family.default, family.doc)}
    for cls in family.alternatives.values():
        spec = ConstructorRegistry.get_struct_spec(StructTypeInfo.make(cls, MISSING_NONPROP, False))
        assert isinstance(spec, StructConstructorSpec)
        for field in spec.fields:
            default = family.common.get(field.name, field.default)
            fields.setdefault(field.name, (field.type, default, _help(field, family)))
    return dataclasses.make_dataclass(
        family.by,
        [
            (name, annotation, dataclasses.field(default=default, metadata={"help": text}))
            for name, (annotation, default, text) in fields.items()
        ],
        namespace={"__doc__": family.doc},
    )


def _help(field: StructFieldSpec, family: Family) -> str:
    text = field.helptext() if callable(field.helptext) else field.helptext
    having = family.having(field.name)
    if len(having) == len(family.alternatives):
        return text or ""
    return f"{text or ''} Of {', '.join(having)}."
