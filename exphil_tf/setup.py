"""Asks what is to be trained and on what, prints the command that does it, and offers to run it.

    python -m exphil_tf.setup
    python -m exphil_tf.setup --answers FILE.yaml [--run]

Without a terminal the answers come from a file: `goal`, `character`, `hardware`, `data`, `options`,
each a line of YAML; what it does not name has its default.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from rich.console import Console

from exphil_tf.foundation import flat_yaml
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.process.memory import device_memory
from exphil_tf.records.manifest import MANIFEST
from exphil_tf.training.run_options import read_run
from exphil_tf.training.train_config import TrainConfig, resolve

PROG = "python -m exphil_tf.setup"
TRAIN = "python -m exphil_tf.train"
_GIB = 1 << 30


@dataclass(frozen=True)
class SetupConfig:
    """Asks what is to be trained, prints the command, and offers to run it."""

    KIND: ClassVar = Kind.START

    answers: Path | None = option(None, kind=Kind.SOURCE)
    """YAML file of answers instead of questions: goal, character, hardware, data, options."""
    run: bool | None = None
    """Whether to run the command; none asks, and runs nothing without a terminal."""


class Question(NamedTuple):
    """One thing to be answered."""

    name: str
    text: str
    default: str
    choices: Mapping[str, str] = {}
    """Answers that there are, with what they mean; none allows any."""


GOALS = {
    "quick": "see that everything works, in minutes",
    "standard": "a first policy worth playing",
    "best": "the best policy, as long as it takes",
    "online": "the best policy for netplay, whatever its delay",
}
CHARACTERS = {
    "general": "everybody in the replays",
    **{name: "" for name in ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")},
    "ice climbers": "",
}
HARDWARE = {
    "cpu": "no GPU",
    "4gb": "a GPU with 4 GB",
    "8gb": "8 GB",
    "12gb": "12 GB",
    "24gb": "24 GB or more",
}
# Presets on a CPU and on a GPU, and options beside them.
_PRESETS = {
    "quick": ("quick", "gpu_quick"),
    "standard": ("standard", "gpu_standard"),
    "best": ("full_cpu", "production"),
    "online": ("full_cpu", "production"),
}
_FITTING = {
    "4gb": ("--batch-size", "32", "--gradient-checkpoint"),
    "8gb": ("--batch-size", "64"),
    "12gb": ("--batch-size", "128"),
}


def questions(gpus: Sequence[tuple[int, int]]) -> list[Question]:
    """What is asked, in order.

    Args:
      gpus: bytes used and there of each.
    """
    return [
        Question("goal", "What do you want?", "standard", GOALS),
        Question("character", "Whom should it play?", "general", CHARACTERS),
        Question("hardware", "What does it train on?", tier(gpus), HARDWARE),
        Question("data", "Where are your replays (or a dataset made of them)?", "replays"),
        Question("options", "More options of training, as typed (none: just Enter)?", ""),
    ]


def tier(gpus: Sequence[tuple[int, int]]) -> str:
    """The hardware that was found, by the memory of the first GPU."""
    if not gpus:
        return "cpu"
    size = gpus[0][1] / _GIB
    tiers = {name: int(name.removesuffix("gb")) for name in HARDWARE if name != "cpu"}
    fitting = [name for name, least in tiers.items() if size >= 0.9 * least]
    return fitting[-1] if fitting else "4gb"


def main(argv: Sequence[str]) -> int:
    """Asks, prints the command, runs it if told to; returns its exit code."""
    config = load(SetupConfig, argv, prog=PROG)
    console = make_console()
    asked = questions(device_memory())
    if config.answers is not None:
        answers = read_answers(config.answers, asked)
    elif sys.stdin.isatty():
        answers = {one.name: ask(one, console, sys.stdin.readline) for one in asked}
    else:
        names = ", ".join(one.name for one in asked)
        raise UserError(
            "this command asks questions, and there is no terminal to answer at",
            f"Give --answers FILE.yaml with lines for {names}.",
            exit_code=EXIT_NO_INPUT,
        )
    words = words_of(answers)
    console.print(f"\n{command(TRAIN, *words)}")
    if not _is_wanted(config, console):
        return 0
    return subprocess.call([sys.executable, "-m", "exphil_tf.train", *words])


def ask(question: Question, console: Console, readline: Callable[[], str]) -> str:
    """The answer to a question; asked again until it is one.

    Raises: UserError: if nobody answers.
    """
    console.print(f"\n{question.text}")
    for name, meaning in question.choices.items():
        console.print(f"  {name}{f': {meaning}' if meaning else ''}")
    while True:
        console.print(f"[{question.default}] ", end="")
        line = readline()
        if not line:
            raise UserError("no answer", "Give --answers FILE.yaml.", exit_code=EXIT_NO_INPUT)
        try:
            return checked(question, line.strip() or question.default)
        except UserError as error:
            console.print(error)


def checked(question: Question, answer: str) -> str:
    """An answer in its own spelling.

    Raises: UserError: if it is none of the choices.
    """
    if not question.choices:
        return answer
    if answer.lower() in question.choices:
        return answer.lower()
    raise UserError(
        f"{question.name}: want one of {', '.join(question.choices)}. Received: {answer!r}"
    )


def read_answers(path: Path, asked: Sequence[Question]) -> dict[str, str]:
    """The answers of a file, and the defaults of what it does not name.

    Raises: UserError: if it is none, or names what is not asked.
    """
    given = {str(name): value for name, value in flat_yaml.read(path).items()}
    unknown = sorted(set(given) - {one.name for one in asked})
    if unknown:
        names = ", ".join(one.name for one in asked)
        raise UserError(f"{path}: {unknown[0]}: not asked", f"There are: {names}.")
    return {
        one.name: checked(one, str(given[one.name]))
        if given.get(one.name) is not None
        else one.default
        for one in asked
    }


def words_of(answers: Mapping[str, str]) -> list[str]:
    """The options of training that answers come to.

    Raises: UserError: if the data are not there, or the options contradict each other.
    """
    goal, character = answers["goal"], answers["character"]
    on_cpu, on_gpu = _PRESETS[goal]
    words = ["--preset", on_cpu if answers["hardware"] == "cpu" else on_gpu]
    if character != "general":
        words += ["--train-character", character]
    words += _FITTING.get(answers["hardware"], ())
    if goal == "online":
        words += ["--online-robust"]
    words += [*_data(answers["data"]), *shlex.split(answers["options"])]
    loaded, _ = read_run(TrainConfig, words, prog=TRAIN)
    resolve(loaded.config)
    return words


def _data(place: str) -> list[str]:
    path = Path(place).expanduser()
    if not path.exists() and "://" not in place:
        raise UserError(
            f"data: {place}: no such file or folder",
            "Give the folder where Slippi saves replays; python -m exphil_tf.samples makes some.",
            exit_code=EXIT_NO_INPUT,
        )
    is_dataset = (path / MANIFEST).is_file()
    return ["--data" if is_dataset else "--replays", place if "://" in place else str(path)]


def _is_wanted(config: SetupConfig, console: Console) -> bool:
    if config.run is not None or config.answers is not None or not sys.stdin.isatty():
        return bool(config.run)
    console.print("\nRun it now? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


if __name__ == "__main__":
    run(main, sys.argv[1:])
