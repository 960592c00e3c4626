"""Flat YAML, read within bounds: `name: value` lines, a value being a word, a number or a list.

A configuration file is input like any other: it may be damaged, hostile, or something else
altogether. So its size, its depth and its lists are bounded, and whatever could make a small file
large or a word something else is refused: aliases (nine lines of which spell a billion words),
tags, merges, keys given twice, characters that cannot be typed. Dates and sexagesimal numbers stay
the words they look like. Every refusal names file and line, and never repeats a whole value.

PyYAML's events are read one by one, without recursion, instead of its node graph: `safe_load`
builds the graph before anything can be counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader
from yaml.resolver import Resolver

from exphil_tf.foundation.errors import UserError, shown
from exphil_tf.process.exit_codes import EXIT_NO_INPUT, EXIT_USAGE

Plain = str | int | float | bool | None
"""What a word means."""

MAX_BYTES = 128 << 10
MAX_NAMES = 1_000
MAX_NAME = 64
MAX_WORDS = 10_000
"""In one list."""
MAX_WORD = 4_096
MAX_NUMBER = 64
"""Characters of a number: Python refuses to print integers of 4,300 digits."""
MAX_DEPTH = 16

_NEXT = "Write flat `name: value` lines, as configs/presets has them."
_KINDS = {yaml.SequenceStartEvent: "a list", yaml.ScalarEvent: "a word"}
_UNTYPABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
"""In a value. U+DC80 to U+DCFF stand for the bytes of file names that are not UTF-8."""


class Nested(dict[str, Any]):
    """Stands for a mapping where a value was wanted; its content is not kept."""

    def __repr__(self) -> str:
        """Short, whatever was in it."""
        return "{…}"


class Values(dict[str, object]):
    """Values by name, and the line of each name, from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def read(path: Path, *, exit_code: int = EXIT_USAGE) -> Values:
    """A file's names and values; an empty file has none.

    Args:
      path: of the file.
      exit_code: of a refusal; a file that a person wrote is bad usage, one of ours is bad data.

    Raises: UserError: names file, line and reason (66 if there is no such file).
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", exit_code=EXIT_NO_INPUT) from None
    except IsADirectoryError:
        raise UserError(
            f"{path}: want a YAML file, this is a folder", exit_code=exit_code
        ) from None
    return parse(data, origin=str(path), exit_code=exit_code)


def parse(data: bytes, *, origin: str, exit_code: int = EXIT_USAGE) -> Values:
    """As `read`, of bytes; `origin` is what an error calls them."""
    return _File(origin, exit_code).values(data)


class _File:
    """One file being read; knows how to refuse it."""

    def __init__(self, origin: str, exit_code: int):
        self._origin, self._exit_code = origin, exit_code
        self._resolver, self._constructor = Resolver(), SafeConstructor()

    def values(self, data: bytes) -> Values:
        """Names and values."""
        text = self._text(data)
        found = Values()
        try:
            events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
            for event in events:
                if isinstance(event, yaml.MappingStartEvent):
                    self._mapping(events, found)
                    self._end(events)
                elif isinstance(event, yaml.NodeEvent):
                    self._root(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._refuse(mark, f"not valid YAML: {_reason(error, text, mark)}")
        return found

    def _text(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            self._refuse(None, f"want at most {MAX_BYTES} bytes. Received: more")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._refuse(line, f"not UTF-8: byte 0x{data[error.start]:02x}")
        wrong = Reader.NON_PRINTABLE.search(text)
        if wrong:
            line = text.count("\n", 0, wrong.start()) + 1
            self._refuse(line, f"not valid YAML: character U+{ord(wrong[0]):04X}")
        return text

    def _root(self, event: yaml.NodeEvent) -> None:
        """Anything but a mapping; nothing at all (comments only) is an empty scalar."""
        if isinstance(event, yaml.ScalarEvent) and not event.value and event.implicit[0]:
            return
        received = _KINDS.get(type(event), "an alias")
        self._refuse(event.start_mark, f"want `name: value` lines. Received: {received}")

    def _end(self, events: Iterator[yaml.Event]) -> None:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._refuse(event.start_mark, "want one document. Received: a second `---`")

    def _mapping(self, events: Iterator[yaml.Event], found: Values) -> None:
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            name = self._name(event)
            if name in found:
                self._refuse(event.start_mark, f"{name} is given twice")
            if len(found) == MAX_NAMES:
                self._refuse(event.start_mark, f"want at most {MAX_NAMES} names")
            found.lines[name] = event.start_mark.line + 1
            found[name] = self._value(next(events), events, name)

    def _name(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event.start_mark, "want the name of an option before the colon")
        self._check_node(event)
        if len(event.value) > MAX_NAME:
            received = shown(event.value)
            self._refuse(event.start_mark, f"want the name of an option. Received: {received}")
        return str(event.value)

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], name: str) -> object:
        self._check_node(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._word(event, name)
        if isinstance(event, yaml.MappingStartEvent):
            self._skip(events, name)
            return Nested()
        words: list[Plain] = []
        for item in events:
            if isinstance(item, yaml.SequenceEndEvent):
                break
            self._check_node(item)
            if not isinstance(item, yaml.ScalarEvent):
                self._refuse(item.start_mark, f"{name}: want words or numbers in the list")
            if len(words) == MAX_WORDS:
                self._refuse(item.start_mark, f"{name}: want a list of at most {MAX_WORDS}")
            words.append(self._word(item, name))
        return words

    def _skip(self, events: Iterator[yaml.Event], name: str) -> None:
        """Passes over the rest of a mapping."""
        depth = 1
        while depth:
            event = next(events)
            self._check_node(event)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                self._refuse(event.start_mark, f"{name}: nested too deep")

    def _check_node(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event.start_mark, "not plain YAML: an alias (*) stands for other lines")
        if getattr(event, "tag", None) is not None:
            self._refuse(event.start_mark, "not plain YAML: a tag (!) changes what a value means")

    def _word(self, event: yaml.ScalarEvent, name: str) -> Plain:
        text = str(event.value)
        if len(text) > MAX_WORD:
            want = f"{name}: want at most {MAX_WORD} characters"
            self._refuse(event.start_mark, f"{want}. Received: {len(text)}")
        if _UNTYPABLE.search(text):
            self._refuse(event.start_mark, f"{name}: want no control characters")
        tag = self._resolver.resolve(yaml.ScalarNode, text, event.implicit).rpartition(":")[2]
        node = yaml.ScalarNode(f"tag:yaml.org,2002:{tag}", text)
        if tag == "null":
            return None
        if tag == "bool":
            return bool(self._constructor.construct_yaml_bool(node))
        if tag not in ("int", "float") or ":" in text:
            return text
        if len(text) > MAX_NUMBER:
            self._refuse(event.start_mark, f"{name}: want a number of at most {MAX_NUMBER} digits")
        make = self._constructor.construct_yaml_int
        try:
            return (make if tag == "int" else self._constructor.construct_yaml_float)(node)
        except ValueError:  # such as 0x_, which YAML's grammar takes for a number
            return text

    def _refuse(self, where: Any, reason: str) -> NoReturn:
        line = getattr(where, "line", None)
        number = where if isinstance(where, int) else None if line is None else line + 1
        place = self._origin if number is None else f"{self._origin}:{number}"
        raise UserError(f"{place}: {reason}", _NEXT, exit_code=self._exit_code)


def _reason(error: yaml.MarkedYAMLError, text: str, mark: Any) -> str:
    """PyYAML's words, in bounds; a tab is what its users trip over most."""
    line = text.split("\n")[mark.line] if mark and mark.line < text.count("\n") + 1 else ""
    if re.match(" *\t", line):
        return "a tab where spaces are wanted"
    problem = " ".join(str(error.problem or error.context or "cannot be read").split())
    return problem if len(problem) <= 100 else problem[:100] + "…"
