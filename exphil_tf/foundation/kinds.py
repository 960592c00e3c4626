"""What a dataclass's field says of the option that it is.

A field is declared `name: type = option(default, kind=…)`, or a class says `KIND` for all its
fields that say nothing themselves. Whatever treats some options unlike others (resuming,
fine-tuning, the content of a dataset) asks for the kind, so that no list of names has to be kept.

`family` declares the one field of a command whose options depend on a choice: each alternative is a
dataclass with exactly its own options, and only those of the chosen one may be given.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

_KEY = "exphil_tf.option"


class Kind(enum.Enum):
    """What an option decides; an option that fits two kinds has the one named first."""

    START = "what this one start of the command does"
    PLACE = "where results go, and under which name"
    WORK = "how the work is done, kept and shown, but no result"
    SOURCE = "which folders are read: what counts is their content"
    GAMES = "which games and players a dataset holds"
    SHARE = "how many of them are learnt from, and which are held out"
    RECORDS = "how a dataset stores games"
    NETWORK = "what the network computes"
    LENGTH = "how long the run is: one that goes on may become a longer one"
    ENDING = "whether it ends before, by its validations"
    RUN = "what the weights become, in this run alone: its seed, learning rate"
    ORDER = "in what order unrolls come, and hence the weights"
    TRAINING = "what the weights become, otherwise"
    RESULT = "what a command that trains nothing makes or says"

    @property
    def is_saved(self) -> bool:
        """Whether it is part of a run, so that repeating the run repeats it."""
        return self is not Kind.START

    @property
    def may_change(self) -> bool:
        """Whether it may be another one when a run goes on: the updates so far stay the same."""
        return self.is_free or self in (Kind.LENGTH, Kind.ENDING)

    @property
    def is_free(self) -> bool:
        """Whether the environment may change it too when a run goes on: no weight depends on it."""
        return self in (Kind.START, Kind.PLACE, Kind.WORK, Kind.SOURCE)

    @property
    def is_inherited(self) -> bool:
        """Whether a run takes it over from the one whose weights it starts from."""
        return self not in (Kind.START, Kind.PLACE, Kind.LENGTH, Kind.RUN)

    @property
    def is_content(self) -> bool:
        """Whether another value makes another dataset."""
        return self in (Kind.GAMES, Kind.SHARE, Kind.RECORDS)


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a field declares of its option."""

    kind: Kind | None = None
    only_with: Mapping[str, tuple[object, ...]] = dataclasses.field(default_factory=dict)
    """Options of which one must have one of these values for this one to have any effect."""
    only_without: tuple[str, ...] = ()
    """Options beside which this one has no effect: all must be at their default."""
    is_derived: bool = False
    """Whether the program sets the field, so that it is no option."""
    former: Any = None
    """Its value in runs and bundles made before there was the option; None for its default."""
    off: tuple[object, ...] = ()
    """Values that ask for what is so without the option, where it has no effect."""
    holds_options: bool = False
    """See `other_options`."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Dataclasses of which an option chooses one."""

    alternatives: Mapping[str, type]
    by: str
    """Name of the option that chooses: it is a field of every alternative that is not in `init`."""
    kind: Kind
    """Of the option that chooses."""
    default: str
    common: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Defaults of this command, instead of those of the alternatives that have the option."""
    implied: Mapping[tuple[str, object], str] = dataclasses.field(default_factory=dict)
    """(Option, value) that settles the choice, whatever else is given, and the alternative."""
    suggested: Mapping[tuple[str, object], tuple[str, frozenset[str]]] = dataclasses.field(
        default_factory=dict
    )
    """(Option, value) that ranks above the choice → the alternative then, unless what is chosen is
    one of those that go with it and was chosen at all."""
    called: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Other names of alternatives that users may know, and what those are called here."""
    doc: str = ""
    """Help of the option that chooses."""

    def make(self, chosen: str, **values: Any) -> Any:
        """The chosen alternative with these values."""
        own = fields_of(self.alternatives[chosen])
        common = {name: value for name, value in self.common.items() if name in own}
        return self.alternatives[chosen](**{**common, **values})

    def having(self, name: str) -> list[str]:
        """The alternatives that have an option of that name."""
        return [key for key, cls in self.alternatives.items() if name in fields_of(cls)]


def option(
    default: Any,
    *,
    kind: Kind | None = None,
    only_with: Mapping[str, object] | None = None,
    only_without: tuple[str, ...] = (),
    is_derived: bool = False,
    former: Any = None,
    off: tuple[object, ...] = (),
    repr: bool = True,
) -> Any:
    """A field that is an option.

    Args:
      default: its value where it is not given.
      kind: what it decides; None for the `KIND` of its class.
      only_with: option → value, or tuple of values: it has an effect only if one of these options
        has its value. One that has none is refused if it was given.
      only_without: options beside which it has no effect: all must be at their default.
      is_derived: the program sets it; it is no option.
      former: its value in runs and bundles that were made before there was the option, which go on
        so, as do runs that start from their weights; None for the default.
      off: values that, where the option has no effect, ask for what is so anyway: nothing is
        refused for them.
      repr: whether the dataclass's `repr` shows it.
    """
    conditions = {
        name: value if isinstance(value, tuple) else (value,)
        for name, value in (only_with or {}).items()
    }
    metadata = {_KEY: Declared(kind, conditions, only_without, is_derived, former, off)}
    return dataclasses.field(default=default, metadata=metadata, repr=repr)


def required(*, kind: Kind) -> Any:
    """A field that is an option without default."""
    return dataclasses.field(metadata={_KEY: Declared(kind)})


def other_options() -> Any:
    """A field whose word is options of another command, dashes and all; none unless given."""
    return dataclasses.field(default="", metadata={_KEY: Declared(holds_options=True)})


def family(alternatives: Mapping[str, type], **declared: Any) -> Any:
    """A field that holds one of several dataclasses; see `Family` for the arguments."""
    made = Family(alternatives, **declared)
    return dataclasses.field(default_factory=lambda: made.make(made.default), metadata={_KEY: made})


def family_of(field: dataclasses.Field[Any]) -> Family | None:
    """The family that a field declares, if it does."""
    declared = field.metadata.get(_KEY)
    return declared if isinstance(declared, Family) else None


def declared_of(cls: type, field: dataclasses.Field[Any]) -> Declared:
    """What a field of a dataclass declares, its kind from the class if it says none."""
    declared = field.metadata.get(_KEY, Declared())
    assert isinstance(declared, Declared)
    if declared.kind is not None:
        return declared
    return dataclasses.replace(declared, kind=getattr(cls, "KIND", None))


def former_values(cls: type) -> dict[str, Any]:
    """Values that fields of a dataclass stand for where they are missing, if not their default."""
    found = {field.name: declared_of(cls, field) for field in dataclasses.fields(cls)}
    return {n: d.former for n, d in found.items() if d.former is not None}


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a dataclass that are options or hold some, by name."""
    found: dict[str, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(cls):
        declared = field.metadata.get(_KEY)
        is_derived = isinstance(declared, Declared) and declared.is_derived
        if field.init and not is_derived:
            found[field.name] = field
    return found
