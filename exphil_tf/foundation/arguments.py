"""The command line, taken apart into settings, arguments given by place, and presets and files."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exphil_tf.foundation import former_options
from exphil_tf.foundation.errors import UserError, remark
from exphil_tf.foundation.options import Option, find, unknown
from exphil_tf.foundation.values import (
    SWITCH_WORDS,
    Rank,
    Setting,
    describe,
    is_scalar,
)

_HELP = ("-h", "--help")


@dataclass
class Arguments:
    """argv taken apart."""

    settings: dict[str, Setting] = field(default_factory=dict)
    """By name; of two of one option the later one."""
    unknown: list[str] = field(default_factory=list)
    """What another parser may know."""
    presets: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    help: list[str] = field(default_factory=list)
    """Flags that tyro answers: help, completion."""


def read_arguments(
    argv: Sequence[str], known: Mapping[str, Option], *, takes_preset: bool, partial: bool
) -> Arguments:
    """Takes a command line apart.

    Args:
      argv: the arguments after the program's name.
      known: the command's options.
      takes_preset: whether it has `--preset`.
      partial: whether what is unknown is kept instead of refused.

    Raises: UserError: for an unknown flag, a flag without its value, or a word too many.
    """
    reader = _Reader(argv, known, takes_preset=takes_preset, partial=partial)
    while reader.rest:
        reader.read_one()
    reader.place_words()
    return reader.found


class _Reader:
    """A command line being read."""

    def __init__(
        self, argv: Sequence[str], known: Mapping[str, Option], *, takes_preset: bool, partial: bool
    ):
        self.rest = deque(argv)
        self.found = Arguments()
        self._known, self._partial = known, partial
        self._ours = {"config": self.found.files}
        if takes_preset:
            self._ours["preset"] = self.found.presets
        self._words: list[str] = []

    def read_one(self) -> None:
        """Reads the next flag with its words, or a word by itself."""
        token = self.rest.popleft()
        flag, equals, value = token.partition("=")
        name = _name_of(flag)
        if token in _HELP or token.startswith("--tyro-"):
            self.found.help += [token, *self._following()] if token.startswith("--t") else [token]
        elif not flag.startswith("--"):
            self._words.append(token)
        elif name in self._ours:
            self._ours[name].append(value if equals else self._word(flag, _WANTED[name]))
        elif (option := _option_of_flag(name, self._known)) is not None:
            value = self._value(flag, option, value if equals else None)
            self._set(Setting(flag, option, value, Rank.FLAG))
        elif not self._read_former(flag, name, value if equals else None):
            if not self._partial or former_options.refusal(name):
                raise unknown(name, [*self._known, *self._ours], origin=flag)
            self.found.unknown += [token, *self._following()]

    def _set(self, setting: Setting) -> None:
        self.found.settings[setting.option.name] = setting

    def _read_former(self, flag: str, name: str, value: str | None) -> bool:
        """Reads a flag of the original that is none of the command's; whether it is one."""
        row = former_options.idle(name, self._known)
        if row is not None:
            for _ in range(row.words if value is None and not name.startswith("no_") else 0):
                self._word(flag, "a value")
            remark(f"{flag} has nothing left to do: {row.why}")
            return True
        if name != former_options.CHECKPOINT:
            return False
        path = self._word(flag, "a path") if value is None else value
        meant = former_options.checkpoint(path, self._known)
        for target, word in meant:
            # Going on is what the flag implies, not what was typed: --overwrite outranks it.
            rank = Rank.PRESET if target == "resume" else Rank.FLAG
            option = self._known[target]
            given = word if is_scalar(option.annotation) else [word]
            self._set(Setting(flag, option, given, rank))
        return bool(meant)

    def place_words(self) -> None:
        """Gives the words that belong to no flag to the options that are given by place."""
        words = deque(self._words)
        for option in (o for o in self._known.values() if o.is_positional):
            if not words:
                break
            if option.name in self.found.settings:
                continue  # by the name that its flag had
            value: object = words.popleft()
            if not is_scalar(option.annotation):
                value = [value, *words]
                words.clear()
            origin = option.name.replace("_", "-")
            self.found.settings[option.name] = Setting(origin, option, value, Rank.FLAG)
        if words and not self._partial:
            raise UserError(f"unexpected argument: {' '.join(words)[:1_000]}", "See --help.")
        self.found.unknown += words

    def _value(self, flag: str, option: Option, value: str | None) -> object:
        """The value of a flag; `value` is what stood behind its equals sign."""
        name = _name_of(flag)
        meant = None if name == option.name else former_options.shorthand(name, self._known)
        if meant is not None:
            return meant.value
        if option.is_switch:
            return self._switch_value(flag, option, value)
        if is_scalar(option.annotation):
            word = value if value is not None else self._word_of(flag, option)
            return former_options.without_suffix(word) if _is_former_file(name, option) else word
        words = [*([] if value is None else [value]), *self._following()]
        if _is_former_file(name, option):
            words = [former_options.without_suffix(word) for word in words]
        if option.takes_commas:
            words = [part for word in words for part in word.split(",")]
        return words

    def _switch_value(self, flag: str, option: Option, value: str | None) -> object:
        if value is None and self.rest and self.rest[0].lower() in SWITCH_WORDS:
            value = self.rest.popleft()
        is_no = _name_of(flag) != option.name and flag.startswith(("--no-", "--no_"))
        if is_no and value is not None:
            raise UserError(f"{flag}: want no value. Received: {value!r}")
        return value if value is not None else not is_no

    def _word(self, flag: str, wanted: str) -> str:
        if not self.rest or _is_flag(self.rest[0]):
            raise UserError(f"{flag}: want {wanted} after it")
        return self.rest.popleft()

    def _word_of(self, flag: str, option: Option) -> str:
        if option.holds_options and self.rest and not self._is_known(self.rest[0]):
            return self.rest.popleft()
        return self._word(flag, describe(option.annotation))

    def _is_known(self, token: str) -> bool:
        """Whether a word is a flag of this command."""
        name = _name_of(token.partition("=")[0])
        is_option = name in self._ours or _option_of_flag(name, self._known) is not None
        return token in _HELP or (token.startswith("--") and is_option)

    def _following(self) -> list[str]:
        """The words up to the next flag."""
        words: list[str] = []
        while self.rest and not _is_flag(self.rest[0]):
            words.append(self.rest.popleft())
        return words


_WANTED = {"config": "a file", "preset": "a name"}


def _is_former_file(name: str, option: Option) -> bool:
    """Whether a flag's name of old said a file, of which there is a folder here."""
    row = former_options.FORMER.get(name)
    return row is not None and row.is_file and option.name in row.to


def _name_of(flag: str) -> str:
    return flag[2:].replace("-", "_")


def _is_flag(token: str) -> bool:
    """No name of a flag has a space."""
    name, _, _ = token.partition("=")
    return (name.startswith("--") and " " not in name) or token in _HELP


def _option_of_flag(name: str, known: Mapping[str, Option]) -> Option | None:
    meant = former_options.shorthand(name, known)
    if meant is not None and name not in known:
        return known[meant.option]
    option = find(name, known)
    if option is not None and option.is_positional and name == option.name:
        return None
    if option is None and name.startswith("no_"):
        option = find(name[3:], known)
        return option if option is not None and option.is_switch else None
    return option
