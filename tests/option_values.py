"""Values that an option may take, found from what the option says of itself."""

import typing
from collections.abc import Iterator

from exphil_tf.foundation.options import Option, options

# Values for options whose checks refuse what the type alone suggests.
SPECIAL = {
    "button_pos_weight": "2",
    "character": "fox",
    "characters": "fox",
    "devices": "2",
    "backbones": "lstm",
    "hidden": "48",
    "num_heads": "8",
    "only": "input",
    "opponent_character": "marth",
    "reward_weights": "damage=0.5",
    "late_reward_weights": "stocks=3",
    "rewards": "shaped",
    "stage": "battlefield",
    "stages": "battlefield",
    "train_character": "fox",
}


# What others need beside them.
WITH = {"attention_every": ["--num-layers", "6"], "mirror_ports": ["--opponent", "other"]}


def first_word(annotation: object) -> str:
    """A word that an option of that type takes."""
    return next(literals(annotation), "some-value")


def literals(annotation: object) -> Iterator[str]:
    """The words that a type spells out, at any depth."""
    for member in typing.get_args(annotation):
        if isinstance(member, str):
            yield member
        else:
            yield from literals(member)


def other_values(option: Option, current: object) -> Iterator[list[str]]:
    """Arguments that may set an option to something else than it is."""
    if option.name in SPECIAL:
        yield [option.flag, SPECIAL[option.name]]
    elif option.is_switch:
        yield ["--no-" + option.flag[2:] if current else option.flag]
    words = [word for word in literals(option.annotation) if word != current]
    if isinstance(current, int | float) and not isinstance(current, bool):
        words += [str(current + 2), str(current / 2), str(current * 2)]
    words += ["3", "0.25", "100000", "main_x", "some-word"]
    yield from ([option.flag, word] for word in words)
    if isinstance(current, list):  # with one more
        yield from ([option.flag, *map(str, current), word] for word in words)


def stage(cls: type, option: Option, chosen: str = "") -> list[str]:
    """Arguments under which an option has an effect: its alternative, and what it goes with.

    Args:
      cls: the command's root dataclass.
      option: of it.
      chosen: the alternative that the arguments choose already, if they do.
    """
    words: list[str] = WITH.get(option.name, []).copy()
    if option.family is not None and not option.is_choice and not chosen:
        words += [f"--{option.family.by}", option.family.having(option.name)[0]]
    for name, values in list(option.only_with.items())[:1]:
        other = options(cls)[name]
        words += [word for word in stage(cls, other, chosen) if word not in words]
        if values[0] != other.default:
            words += [other.flag] if values[0] is True else [other.flag, str(values[0])]
    return words
