"""Numbers that nobody can mean, given to every option of every command."""

import importlib
import inspect
import re

from exphil_tf import docs
from exphil_tf.foundation.config import load_partial
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.options import options

# Below nothing, and yet it means something: percent to lose; and what is held against a policy's
# own delay once that is read.
BELOW_NOTHING = {"desired_return", "frame_delay", "return_edges"}


def roots():
    """The root dataclasses of each command, by its name."""
    for name in docs.command_names():
        module = importlib.import_module(f"exphil_tf.{name}")
        source = inspect.getsource(module)
        for cls in sorted(set(re.findall(r"(?:load|read|Sources)\w*\(\s*(\w+Config)\b", source))):
            yield name, getattr(module, cls)


def is_refused(cls, words, flag, value):
    try:
        load_partial(cls, [*words, f"{flag}={value}"])
    except UserError as error:
        assert error.exit_code == 2, error
        return True
    return False


def test_no_number_is_taken_that_nobody_can_mean():
    """Else it is found out hours later, by a defect, or never."""
    taken, tried = [], 0
    for command, cls in roots():
        known = options(cls).values()
        words = ["x" for option in known if option.is_positional]
        for option in known:
            kinds = re.findall(r"\b(?:int|float)\b", str(option.annotation))
            if not kinds or option.is_positional or "Literal" in str(option.annotation):
                continue
            values = ["nan" if "float" in kinds else "9" * 25]
            values += [] if option.name in BELOW_NOTHING else ["-1"]
            tried += len(values)
            taken += [
                (command, cls.__name__, option.flag, value)
                for value in values
                if not is_refused(cls, words, option.flag, value)
            ]
    assert taken == []
    assert tried > 500


def test_a_place_named_by_nothing_is_not_this_folder():
    """As `--output "$UNSET"` of a shell names it."""
    for command, cls in roots():
        known = options(cls).values()
        words = ["x" for option in known if option.is_positional]
        for option in known:
            is_place = "Path" in str(option.annotation) or option.kind is Kind.PLACE
            if is_place and not option.is_positional and "bool" not in str(option.annotation):
                assert is_refused(cls, words, option.flag, ""), (command, option.flag)
