"""Which of the settings that a command was given are in force.

Of one option the highest source wins. Then go the settings that another choice has made pointless:
alternatives of an option that ranks higher (`EXCLUSIVE`), options that the chosen one of a family
does not have, options without effect beside the others (`kinds.option(only_with=…)`). What ranks
below the choice goes in silence, as it was not meant for it: a preset's `state-size` under
`--backbone lstm`. What ranks with it or above was asked for in vain, and is refused.

A preset and an earlier run hold together by themselves, and a variable is set for every command, so
nothing of theirs is refused. A file may
be the dump of a run, which names every option: there, a value at its default is no wish. Nor is a
switch that is turned off where it has no effect: that is so anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Family
from exphil_tf.foundation.options import Option
from exphil_tf.foundation.values import FALSE, NONE, Rank, Setting, Source, typed


class Exclusive(NamedTuple):
    """Options of which one makes another pointless: what ranks higher drops the others below it.

    A variable set for every command (`EXPHIL_REPLAYS_DIR`) is a default, not a choice: it must not
    contradict the flag that chooses the alternative. Two of one rank still do.
    """

    names: tuple[str, ...]
    neutral: tuple[str, ...] = ()
    """Values that go together with the others."""
    yields: tuple[Rank, ...] = (Rank.PRESET, Rank.FILE, Rank.SAVED, Rank.VARIABLE)
    """Sources whose choice yields; in others, two alternatives are for the command to refuse."""

    def is_choice(self, value: object) -> bool:
        """Whether a value chooses this alternative; none and empty ones choose nothing."""
        if value is None or value in ("", [], ()):
            return False
        return str(value).strip().lower() not in (*NONE, *self.neutral)


_GIVEN = (Rank.PRESET, Rank.FILE, Rank.VARIABLE)
EXCLUSIVE = (
    Exclusive(("replays", "data")),
    Exclusive(("resume", "name", "run_dir"), neutral=("auto",), yields=_GIVEN),
    Exclusive(("resume", "overwrite"), neutral=FALSE, yields=_GIVEN),
    Exclusive(("backbone", "temporal"), yields=(Rank.VARIABLE,)),
)
_NO_WISH = (Rank.PRESET, Rank.SAVED, Rank.VARIABLE)
"""A preset and a saved run hold together by themselves, and a variable is set for every command."""


class InForce(NamedTuple):
    """What the settings of a command come to."""

    values: dict[str, Any]
    """Typed, by name, of the options that were given and have an effect."""
    chosen: dict[str, str]
    """The alternative of each family, by the name of the option that chooses."""
    given: dict[str, Source]
    """Options that were asked for, and where."""


def in_force(known: Mapping[str, Option], settings: Iterable[Setting]) -> InForce:
    """Resolves settings of every source.

    Args:
      known: the command's options.
      settings: in any order; of one option and rank the last one counts.

    Raises: UserError: if a value is of the wrong type, or an option was given in vain.
    """
    kept = highest(_without_exclusive(list(settings)))
    values = {name: typed(setting) for name, setting in kept.items()}
    wanted = _Wanted(known, kept, values)
    for option in known.values():
        if option.family is not None and option.is_choice:
            wanted.choose(option.family)
    wanted.drop_ineffective()
    given = {
        name: Source(setting.rank, setting.origin)
        for name, setting in kept.items()
        if not (setting.rank in (Rank.FILE, Rank.SAVED) and wanted.is_default(setting))
    }
    return InForce(values, wanted.chosen, given)


def values_of(settings: Sequence[Setting], names: Collection[str]) -> dict[str, Any]:
    """The typed values of some options, by name, of those that were given; nothing is refused."""
    kept = highest(_without_exclusive(list(settings)))
    return {name: typed(setting) for name, setting in kept.items() if name in names}


def highest(settings: Sequence[Setting]) -> dict[str, Setting]:
    """The setting of each option that outranks its others, highest sources first."""
    kept: dict[str, Setting] = {}
    for setting in sorted(settings, key=lambda s: s.rank):
        kept[setting.option.name] = setting
    return dict(sorted(kept.items(), key=lambda item: -item[1].rank))


def _without_exclusive(settings: list[Setting]) -> list[Setting]:
    """The settings but for those whose alternative a source above has chosen."""
    flags, variables, saved = (
        [s for s in settings if s.rank is rank] for rank in (Rank.FLAG, Rank.VARIABLE, Rank.SAVED)
    )
    kept = [*flags, *_not_yielding(variables, [*flags, *saved])]
    kept += _not_yielding(saved, kept)
    kept += _not_yielding([s for s in settings if s.rank in (Rank.PRESET, Rank.FILE)], kept)
    return sorted(kept, key=settings.index)  # of one option and rank the last one counts


def _not_yielding(settings: list[Setting], above: list[Setting]) -> list[Setting]:
    return [s for s in settings if not any(_yields(s, group, above) for group in EXCLUSIVE)]


def _yields(setting: Setting, group: Exclusive, above: Iterable[Setting]) -> bool:
    """Whether a source above has chosen another alternative of a group."""
    name = setting.option.name
    if setting.rank not in group.yields or name not in group.names:
        return False
    return group.is_choice(setting.value) and any(
        other.option.name in group.names
        and other.option.name != name
        and group.is_choice(other.value)
        for other in above
    )


class _Wanted:
    """Settings by name, from which go those that have no effect."""

    def __init__(
        self, known: Mapping[str, Option], kept: dict[str, Setting], values: dict[str, Any]
    ):
        self._known, self._kept, self._values = known, kept, values
        self.chosen: dict[str, str] = {}

    def choose(self, family: Family) -> None:
        """Settles which alternative of a family there is, and drops the options of the others."""
        by, chosen = family.by, self._values.get(family.by, family.default)
        rank = self._rank(by)
        for (name, value), implied in family.implied.items():
            if name in self._values and self._values[name] == value:
                chosen, rank = implied, max(rank, self._rank(name))
        for (name, value), (fitting, those) in family.suggested.items():
            is_asked = self._rank(name) > rank and self._values[name] == value
            if is_asked and (rank is Rank.DEFAULT or chosen not in those):
                chosen, rank = fitting, self._rank(name)
        self.chosen[by] = chosen
        for name, setting in list(self._kept.items()):
            if setting.option.family is family and not setting.option.is_of(chosen):
                flag, having = by.replace("_", "-"), _in_words(family.having(name))
                why = f"no option of --{flag} {chosen}, but of {having}"
                self._drop(setting, below=rank, why=why)

    def drop_ineffective(self) -> None:
        """Drops the options that have no effect beside the others, in declared order."""
        for name, option in self._known.items():
            setting = self._kept.get(name)
            if setting is None:
                continue
            if option.only_with and not self._is_effective(option):
                rank = max(self._rank(other) for other in option.only_with)
                self._drop(setting, below=rank, why=f"has no effect without {_conditions(option)}")
            elif (other := self._what_leaves_no_room(option)) is not None:
                why = f"has no effect beside {self._known[other].flag}"
                self._drop(setting, below=self._rank(other), why=why)

    def is_default(self, setting: Setting) -> bool:
        """Whether a setting says what would be so without it."""
        return self._values.get(setting.option.name) == setting.option.default

    def _is_effective(self, option: Option) -> bool:
        return any(
            self._values.get(other, self._known[other].default) in values
            for other, values in option.only_with.items()
        )

    def _what_leaves_no_room(self, option: Option) -> str | None:
        """The first option beside which this one has no effect, if one is not at its default."""
        for other in option.only_without:
            default = self._known[other].default
            if self._values.get(other, default) != default:
                return other
        return None

    def _rank(self, name: str) -> Rank:
        return self._kept[name].rank if name in self._kept else Rank.DEFAULT

    def _drop(self, setting: Setting, *, below: Rank, why: str) -> None:
        """Takes a setting out.

        Raises: UserError: if it was asked for, with or above what makes it pointless.
        """
        value = self._values[setting.option.name]
        is_so_anyway = value is False or value in setting.option.off
        is_wish = (
            setting.rank not in _NO_WISH
            and not is_so_anyway
            and not (setting.rank is Rank.FILE and self.is_default(setting))
        )
        if is_wish and setting.rank >= below:
            raise UserError(f"{setting.origin}: {why}", "Leave it out.")
        name = setting.option.name
        del self._kept[name], self._values[name]


def _conditions(option: Option) -> str:
    """What an option goes with, in words: `--optimizer adamw or lamb`."""
    return " or ".join(
        " or ".join([_flag(name, values[0]), *map(str, values[1:])])
        for name, values in option.only_with.items()
    )


def _in_words(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _flag(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} none" if value is None else f"--{flag} {value}"
