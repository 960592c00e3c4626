"""Writes the pages of `docs/` that are generated: the features and the commands.

python -m exphil_tf.docs            # write them
python -m exphil_tf.docs --check    # only say whether they are up to date
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from exphil_tf.features.packing import ACTION_BYTES, LAYOUT, NOISE_BYTES, ROW_BYTES
from exphil_tf.features.schema import SCHEMA, SHAPES, EmbedKind, Field, Group, Mirror
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.former_commands import FORMER_COMMANDS
from exphil_tf.foundation.former_options import FORMER, Former
from exphil_tf.foundation.kinds import Kind
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_OK
from models.backbones import CALLED

PROG = "python -m exphil_tf.docs"
PACKAGE = Path(__file__).resolve().parent
PAGES = PACKAGE.parent / "docs"
_WIDTH = 100
_NOTE = "<!-- Written by `make docs`; edit {source} instead. -->\n"


@dataclass(frozen=True)
class DocsConfig:
    """Writes the generated pages of docs/."""

    KIND: ClassVar = Kind.RESULT

    check: bool = False
    """Write nothing; fail if a page is out of date."""


# -- docs/features.md ------------------------------------------------------------------------------

_FEATURES_INTRO = f"""# Features

What is known of a frame, for every source of frames: replay, live game, simulator. Each line below
is one entry of `exphil_tf/features/fields.py`, from which extraction, storage, augmentation, the
model's embedding and this page are derived. Fingerprint of this schema: `{{fingerprint}}`.

A stored row is {ROW_BYTES} bytes and holds both players; its first {NOISE_BYTES} bytes are the
floats that noise augmentation touches. A player's controller is {ACTION_BYTES} bytes of it. *Bytes*
says where a field lies in the row and how. What is *only with* a flag is zero without it, mirrored
or not. *Mirror* is what a left-right reflection does; a zero has no side and stays as it is.
*Noise* is the σ of the augmentation, in multiples of `--noise-scale`. *Network* is how the
embedding sees the value by default.
"""

_GROUPS: dict[Group, str] = {
    Group.FRAME: "The frame itself.",
    Group.PLAYER: "Both players; after the perspective is taken, own first, then the opponent.",
    Group.NANA: "The second Ice Climber of both players; zero while she is absent.",
    Group.CONTROLLER: "Both controllers: the input of the frame, which led to the state of it.",
    Group.ITEM: "Items and projectiles in slots that keep one item for its whole life.",
    Group.STAGE: "The stage.",
}
_COLUMNS = ("Field", "Meaning", "Unit, range", "Bytes", "Mirror", "Noise", "Network", "Source")


def features_page() -> str:
    """The text of docs/features.md."""
    parts = [
        _NOTE.format(source="exphil_tf/features/fields.py"),
        _FEATURES_INTRO.format(fingerprint=SCHEMA.fingerprint()),
    ]
    for group, meaning in _GROUPS.items():
        shape = "".join(f", {size}" for size in SHAPES[group])
        parts.append(f"\n## {group.value.capitalize()} `[time{shape}]`\n\n{meaning}\n\n")
        parts.append(_row(_COLUMNS) + _row(["---"] * len(_COLUMNS)))
        parts += [_row(_cells(field)) for field in SCHEMA.group(group)]
    return "".join(parts)


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _cells(field: Field) -> list[str]:
    slot = LAYOUT.slots[field.name]
    mirror = {
        Mirror.KEEP: "",
        Mirror.SWAP: f"swap with `{field.mirror_with}`",
        Mirror.SIDES: "ids of left and right",
        Mirror.COUNT: "as its action is counted",
    }
    sources = [f"`{source}`" for source in (field.peppi, field.libmelee) if source]
    since = ["from {}.{}".format(*field.since)] if any(field.since) else []
    return [
        f"`{field.name}`",
        f"{field.doc} Only with `{field.present}`." if field.present else field.doc,
        f"{field.unit}, {field.low:.10g} to {field.high:.10g}",
        f"{slot.offset}–{slot.stop - 1}, {field.store.value}",
        mirror.get(field.mirror, field.mirror.value),
        f"{field.noise:g}" if field.noise else "",
        _network(field),
        "<br>".join(sources + since) or "the file",
    ]


def _network(field: Field) -> str:
    embed = field.embed
    if embed.kind is EmbedKind.SCALE:
        shifted = f"(x + {embed.bias:g})" if embed.bias else "x"
        return f"{shifted} · {embed.scale:.4g}, clipped to {embed.low:g}…{embed.high:g}"
    return {
        EmbedKind.FLAG: "0 or 1",
        EmbedKind.SIGN: "-1 or 1",
        EmbedKind.CATEGORY: f"one of {embed.size}",
        EmbedKind.NONE: "not by itself",
    }[embed.kind]


# -- docs/cli.md -----------------------------------------------------------------------------------

_CLI_INTRO = """# Commands

Every command is a module: `python -m exphil_tf.<name>`. Options may also stand in a YAML file
(`--config`), in a preset where the command has presets (`--preset`) or in the environment
(`EXPHIL_BATCH_SIZE=64`); flags win over the environment, that over the file, that over the preset.

Exit codes: 0 done, 2 wrong option or configuration, 65 bad data, 66 input missing, 70 a defect of
the program, 73 output exists or cannot be made, 74 reading or writing failed, 75 ended by a
signal and fit to be run again (training with `--resume auto`), 78 an artefact of another schema or
version, 130 interrupted by Ctrl-C before there was anything to save.
"""


def cli_page() -> str:
    """The text of docs/cli.md: what every command prints for --help."""
    parts = [_NOTE.format(source="the commands' dataclasses"), _CLI_INTRO]
    for name in command_names():
        parts.append(f"\n## `python -m exphil_tf.{name}`\n\n```text\n{help_of(name)}```\n")
        parts += [
            f"\n### `python -m exphil_tf.{name} {form}`\n\n```text\n{help_of(name, form)}```\n"
            for form in help_forms(name)
        ]
    return "".join(parts)


def command_names() -> list[str]:
    """Modules and subpackages of the package that can be run, sorted."""
    mark = '\nif __name__ == "__main__":\n'
    paths = [path for path in PACKAGE.glob("[!_]*.py") if mark in path.read_text(encoding="utf-8")]
    packages = [path.parent.name for path in PACKAGE.glob("*/__main__.py")]
    return sorted([path.stem for path in paths] + packages)


def command_module(name: str) -> ModuleType:
    """The module that `python -m exphil_tf.<name>` runs."""
    is_package = (PACKAGE / name).is_dir()
    return importlib.import_module(f"exphil_tf.{name}" + ".__main__" * is_package)


def help_forms(name: str) -> tuple[str, ...]:
    """First words after which a command has a `--help` of its own: its `HELP_FORMS`."""
    return getattr(command_module(name), "HELP_FORMS", ())


def help_of(name: str, *words: str) -> str:
    """What `python -m exphil_tf.<name> [<words>] --help` prints on a terminal of 100 columns."""
    module = command_module(name)
    text = io.StringIO()
    with _plain_terminal(), contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module.main([*words, "--help"])
    lines = [line.rstrip() for line in text.getvalue().strip().splitlines()]
    if not lines:
        raise UserError(f"exphil_tf.{name}: prints nothing for --help", exit_code=EXIT_DATA)
    return "".join(f"{line}\n" for line in lines)


@contextlib.contextmanager
def _plain_terminal() -> Iterator[None]:
    """Pretends a terminal of fixed width without colours, and no EXPHIL_* variables."""
    saved = dict(os.environ)
    for variable in [name for name in os.environ if name.startswith("EXPHIL_")]:
        del os.environ[variable]
    os.environ.update(COLUMNS=str(_WIDTH), NO_COLOR="1", TERM="dumb")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


# -- docs/coming-from-exphil.md --------------------------------------------------------------------

_COMING_INTRO = """# Coming from ExPhil

What the scripts, options and files of ExPhil are here. Lines that you know work as they are, with
`exphil NAME` for `mix run scripts/NAME.exs` and `mix exphil.NAME`: options that are called
otherwise are understood by their old names, those that have nothing left to do are accepted with a
note, and the few that are refused say what to do instead. Options that this page does not name are
called as they were.
"""


def coming_page() -> str:
    """The text of docs/coming-from-exphil.md."""
    return "".join(
        [
            _NOTE.format(source="exphil_tf/foundation/former_options.py and former_commands.py"),
            _COMING_INTRO,
            _table("Scripts and tasks", ("ExPhil", "here"), _former_commands()),
            _table("Options", ("ExPhil", "here"), _former_options()),
            _table("Values", ("ExPhil", "here"), _former_values()),
            _table("Files", ("ExPhil", "here"), _former_files()),
            _table("What is otherwise by default", ("ExPhil", "here"), _former_defaults()),
        ]
    )


def _table(title: str, columns: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    head = _row(columns) + _row(["---"] * len(columns))
    return f"\n## {title}\n\n{head}" + "".join(_row(row) for row in rows)


def _former_commands() -> list[tuple[str, str]]:
    there = command_names()
    rows: list[tuple[str, str]] = []
    for name, row in FORMER_COMMANDS.items():
        if not row.words:
            rows.append((f"`{name}`", _capital(row.note)))
        elif row.words[0] in there:
            note = f"; {row.note}" if row.note else ""
            rows.append((f"`{name}`", f"`exphil {' '.join(row.words)}`{note}"))
    return rows


def _former_options() -> list[tuple[str, str]]:
    rows = [(f"`{_flag(name)}`", _former_option(row)) for name, row in FORMER.items()]
    checkpoint = (
        "`--checkpoint`",
        "of a file: `--run-dir` of that name, gone on with if it is there; of a folder: "
        "`--runs-dir`; in `evaluate` and `export`: the run",
    )
    return sorted([*rows, checkpoint])


def _former_option(row: Former) -> str:
    if row.value == "false":
        return f"`--no-{_flag(row.to[0])[2:]}`"
    if row.value is not None:
        return f"`{_flag(row.to[0])} {row.value}`"
    if row.to[:1] == ("run",):
        text = "the run or its policy, by its place: `evaluate RUN`"
        return f"{text}; `--policy` in `play`" if "policy" in row.to else text
    if row.to:
        return f"`{_flag(row.to[0])}`"
    return f"{'Refused: ' if row.is_refused else 'Nothing left to do: '}{row.why}."


def _former_values() -> list[tuple[str, str]]:
    rows = [(f"`--backbone {old}`", f"`--backbone {new}`") for old, new in CALLED.items()]
    return [
        *rows,
        ("`--temporal` alone", "`--backbone lstm`"),
        ("`--characters a,b`, `--stages a,b`", "the same, or parted by spaces"),
        ("no `--replays`", "`./replays` if it is there"),
    ]


def _former_files() -> list[tuple[str, str]]:
    return [
        ("`checkpoints/NAME.axon`", "`runs/NAME/checkpoints/`, gone on with by `--resume`"),
        ("`checkpoints/NAME_policy.bin`", "`runs/NAME/policy/`; a run's folder stands for it"),
        ("`checkpoints/NAME_config.json`", "`runs/NAME/config.json`"),
        ("`checkpoints/NAME.axon.bak`, `.bak.1`", "`runs/NAME.bak`, `runs/NAME.bak.1`"),
        ("`checkpoints/NAME_interrupt.axon`", "the newest checkpoint of `runs/NAME`"),
        ("`priv/kmeans_centers.nx`", "a JSON file of any name"),
        (
            "cached embeddings",
            "`datasets/`, kept by content: `ls` lists, and a deleted one is made anew when wanted",
        ),
        (
            "`notebooks/evaluation_dashboard.livemd`",
            "`notebooks/evaluation_dashboard.ipynb`, for Jupyter",
        ),
    ]


def _former_defaults() -> list[tuple[str, str]]:
    return [
        ("a single frame at a time, unless `--temporal`", "memory; `--no-temporal` for none"),
        ("one label per window", "a label per frame; `--loss-frames last --stride 1` for theirs"),
        ("a batch counts labels", "it counts unrolls, of `--window-size` labels each"),
        ("`--player-port 1`", "both players"),
        ("`--val-split 0`", "`--val-split 0.1`; a game's content decides, not the seed"),
        ("label smoothing on all components", "on sticks and shoulder"),
        ("an unknown player has somebody's id", "nobody's"),
        ("`--character-dim` 64", "16"),
        ("a preset outranks `--config`", "the file outranks the preset"),
        ("distillation at temperature 2", "at 1"),
        ("`eval_model` sorts by overall score", "by nats per frame; the score stands beside"),
    ]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# -- The command -----------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Path → text of every generated page."""
    return {
        PAGES / "features.md": features_page(),
        PAGES / "cli.md": cli_page(),
        PAGES / "coming-from-exphil.md": coming_page(),
    }


def stale() -> list[Path]:
    """Generated pages that are missing or differ from what would be written now."""
    return [
        path
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(argv: list[str]) -> int:
    """Writes or checks the pages."""
    settings = load(DocsConfig, argv, prog=PROG)
    if settings.check:
        if names := ", ".join(f"docs/{path.name}" for path in stale()):
            raise UserError(f"{names}: out of date", "Run make docs.", exit_code=EXIT_DATA)
        return EXIT_OK
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"docs/{path.name}: {len(text.splitlines())} lines")  # noqa: T201 - the result
    return EXIT_OK


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
