"""The loader: which source wins, what is refused and how, and what is written back."""

import ast
import dataclasses
import enum
import errno
import functools
import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import tyro
import yaml
from option_values import first_word, other_values, stage
from tyro.conf import Positional

from exphil_tf import docs
from exphil_tf.foundation import config, kinds, setting_sources
from exphil_tf.foundation.config import (
    Saved,
    dump_yaml,
    from_dict,
    load,
    load_given,
    load_partial,
    to_dict,
)
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.former_options import ELSEWHERE, FORMER
from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.options import Option, options
from exphil_tf.foundation.precedence import EXCLUSIVE
from exphil_tf.foundation.values import Rank


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Inner:
    """Numbers of the network."""

    batch_size: int = 64
    """Unrolls per step."""
    lr: float = 1e-4
    """Learning rate."""
    hidden: tuple[int, ...] = (512, 256)
    """Widths."""
    backbone: Literal["mlp", "mamba"] = "mlp"
    low: int = 0
    high: int = 18

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(
                f"inner.low: want at most high. Received: low={self.low}, {self.high=}"
            )


@dataclasses.dataclass(frozen=True)
class Toy:
    """A toy command."""

    inner: Inner = Inner()
    replays: Path = Path("replays")
    """Where the replays are."""
    characters: tuple[str, ...] = ()
    max_files: int | None = None
    ema: bool = False
    save_best: bool = True
    temporal: bool | None = None
    name: str | None = None
    colour: Colour = Colour.RED
    verbosity: int = 1
    wandb_project: str = "exphil"
    wandb_api_key: str = ""


@dataclasses.dataclass(frozen=True)
class WithArgument:
    """A command with a positional argument."""

    run: Positional[Path]
    characters: tuple[str, ...] = ()


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "big.yaml").write_text("batch-size: 256\nhidden: [256, 256]\nlr: 1e-3\n")
    (folder / "mewtwo.yaml").write_text("base: big\nlr: 2e-3\ncharacters: [mewtwo]\n")
    (folder / "loop.yaml").write_text("base: loop2\n")
    (folder / "loop2.yaml").write_text("base: loop\n")
    return folder


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def refused(cls, argv=(), **kwargs) -> UserError:
    with pytest.raises(UserError) as caught:
        load(cls, list(argv), env=kwargs.pop("env", {}), **kwargs)
    assert "\n" not in str(caught.value)
    return caught.value


# -- Precedence ----------------------------------------------------------------------------------


def test_defaults():
    assert load(Toy, [], env={}) == Toy()


def test_each_source_outranks_the_one_before(tmp_path, presets):
    file = write(tmp_path / "c.yaml", "batch-size: 3\n")
    env = {"EXPHIL_BATCH_SIZE": "4"}
    steps = [
        ([], {}, 64),
        (["--preset", "big"], {}, 256),
        (["--config", file, "--preset", "big"], {}, 3),
        (["--config", file, "--preset", "big"], env, 4),
        (["--batch-size", "5", "--config", file, "--preset", "big"], env, 5),
    ]
    loaded = [load(Toy, argv, env=environment, presets=presets) for argv, environment, _ in steps]
    assert [got.inner.batch_size for got in loaded] == [want for _, _, want in steps]
    # What the higher sources don't name still comes from the lower ones.
    got = loaded[-1]
    assert got.inner.hidden == (256, 256)
    assert got.inner.lr == 1e-3


def test_of_two_files_the_later_wins(tmp_path):
    one = write(tmp_path / "1.yaml", "lr: 1\nlow: 1\n")
    two = write(tmp_path / "2.yaml", "lr: 2\n")
    got = load(Toy, ["--config", one, f"--config={two}"], env={})
    assert (got.inner.lr, got.inner.low) == (2.0, 1)


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """A command of which some options exclude each other."""

    replays: tuple[str, ...] = ()
    data: str | None = None
    resume: str | None = None
    name: str | None = None
    run_dir: str | None = None
    overwrite: bool = False
    backbone: str = "mamba"
    temporal: bool | None = None
    lr: float = 1.0


@pytest.mark.parametrize(
    ("argv", "env", "want"),
    [
        (["--data", "d"], {"REPLAYS_DIR": "r"}, {"data": "d"}),
        (["--replays", "r"], {"DATA": "d"}, {"replays": ["r"]}),
        (["--data=d"], {"REPLAYS": "r"}, {"data": "d"}),
        (["--data", "None"], {"REPLAYS": "r"}, {"replays": ["r"]}),
        ([], {"REPLAYS": "r", "DATA": "d"}, {"replays": ["r"], "data": "d"}),
        (["--resume", "runs/a"], {"NAME": "b", "RUN_DIR": "c"}, {"resume": "runs/a"}),
        (["--resume", "auto"], {"NAME": "b"}, {"resume": "auto", "name": "b"}),
        (["--name", "b"], {"RESUME": "auto"}, {"resume": "auto", "name": "b"}),
        (["--name", "b"], {"RESUME": "runs/a"}, {"name": "b"}),
        (["--name", "b"], {"RUN_DIR": "c"}, {"name": "b"}),
        (["--overwrite"], {"RESUME": "auto"}, {"overwrite": True}),
        (["--resume", "auto"], {"OVERWRITE": "1"}, {"resume": "auto"}),
        (["--no-overwrite"], {"RESUME": "auto"}, {"resume": "auto"}),
        (["--overwrite=no"], {"RESUME": "auto"}, {"resume": "auto"}),
        (["--backbone", "lstm"], {"TEMPORAL": "false"}, {"backbone": "lstm"}),
        (["--temporal"], {"BACKBONE": "mlp"}, {"temporal": True}),
    ],
)
def test_a_flag_beats_an_alternative_of_the_environment(argv, env, want):
    got = load(Alternatives, argv, env={f"EXPHIL_{name}": value for name, value in env.items()})
    assert to_dict(got) == to_dict(Alternatives()) | want


def test_every_pair_of_alternatives_yields_to_the_flag():
    values = {"overwrite": "true", "temporal": "true"}
    for group in EXCLUSIVE:
        for flag, variable in itertools.permutations(group.names, 2):
            argv = [f"--{flag.replace('_', '-')}={values.get(flag, 'x')}"]
            env = {f"EXPHIL_{variable.upper()}": values.get(variable, "y")}
            got = to_dict(load(Alternatives, argv, env=env))
            assert got[variable] == to_dict(Alternatives())[variable], (flag, variable)
            assert got[flag] != to_dict(Alternatives())[flag]


def test_alternatives_of_files_and_saved_options(tmp_path):
    file = write(tmp_path / "c.yaml", "data: d\nreplays: []\nbackbone: mlp\nrun-dir: c\n")
    got = load(Alternatives, ["--config", file, "--replays", "r", "--temporal"], env={})
    assert (got.replays, got.data, got.backbone, got.temporal) == (("r",), None, "mlp", True)
    assert load(Alternatives, ["--config", file, "--name", "b"], env={}).run_dir is None
    saved = Saved({"data": "d", "replays": [], "name": "n", "lr": 2.0}, "s", frozenset({"lr"}))
    env = {"EXPHIL_REPLAYS_DIR": "r", "EXPHIL_LR": "3", "EXPHIL_NAME": "m"}
    got = load(Alternatives, ["--resume", "runs/a"], env=env, saved=saved)
    assert (got.data, got.replays, got.lr, got.name) == ("d", (), 2.0, "n")
    got = load(Alternatives, ["--replays", "r", "--lr", "4"], env={}, saved=saved)
    assert (got.data, got.replays, got.lr) == (None, ("r",), 4.0)
    got = load(Alternatives, [], env={"EXPHIL_DATA": "elsewhere"}, saved=saved)
    assert got.data == "elsewhere"


def test_default_preset_of_the_environment_yields_to_the_flag(presets):
    env = {"EXPHIL_DEFAULT_PRESET": "mewtwo"}
    assert load(Toy, [], env=env, presets=presets).inner.lr == 2e-3
    assert load(Toy, ["--preset", "big"], env=env, presets=presets).inner.lr == 1e-3
    # A command without presets isn't disturbed by it.
    assert load(Toy, [], env=env).inner.lr == 1e-4


def test_a_preset_inherits_its_base(presets):
    got = load(Toy, ["--preset", "mewtwo"], env={}, presets=presets)
    assert (got.inner.batch_size, got.inner.lr, got.characters) == (256, 2e-3, ("mewtwo",))


def test_a_check_across_fields_sees_only_the_resolved_whole(tmp_path):
    file = write(tmp_path / "c.yaml", "low: 20\n")
    assert load(Toy, ["--config", file, "--high", "30"], env={}).inner.high == 30
    assert "inner.low: want at most high" in str(refused(Toy, ["--config", file]))


def test_a_list_from_a_file_does_not_swallow_an_argument(tmp_path):
    file = write(tmp_path / "c.yaml", "characters: [fox, falco]\n")
    got = load(WithArgument, ["--config", file, "runs/a"], env={})
    assert got == WithArgument(Path("runs/a"), ("fox", "falco"))


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("EXPHIL_LR", "0.5")
    assert load(Toy, []).inner.lr == 0.5


# -- Spellings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "field", "want"),
    [
        (["--batch-size=7"], "batch_size", 7),
        (["--batch_size", "7"], "batch_size", 7),
        (["--lr", "-1e-3"], "lr", -1e-3),
        (["--hidden", "1", "2"], "hidden", [1, 2]),
        (["--hidden_sizes", "3"], "hidden", [3]),
        (["--hidden", "1,2", "3", "--replays", "a,b"], "hidden", [1, 2, 3]),
        (["--hidden", "1,2", "--replays", "a,b"], "replays", "a,b"),
        (["--student-hidden=1,2"], "hidden", [1, 2]),
        (["--learning-rate", "2"], "lr", 2.0),
        (["--replays-dir", "x"], "replays", "x"),
        (["--ema"], "ema", True),
        (["--ema", "--no-ema"], "ema", False),
        (["--no-save-best"], "save_best", False),
        (["--no_save_best"], "save_best", False),
        (["--save-best=no"], "save_best", False),
        (["--save-best", "off", "--ema"], "save_best", False),
        (["--temporal"], "temporal", True),
        (["--temporal", "--ema"], "temporal", True),
        (["--no-temporal"], "temporal", False),
        (["--temporal", "False"], "temporal", False),
        (["--temporal=none"], "temporal", None),
        (["--max-files", "None"], "max_files", None),
        (["--max-files", "3", "--max-files", "4"], "max_files", 4),
        (["--colour", "BLUE"], "colour", "BLUE"),
        (["--quiet"], "verbosity", 0),
        (["--verbose"], "verbosity", 2),
        (["--characters"], "characters", []),
    ],
)
def test_flags(argv, field, want):
    assert to_dict(load(Toy, argv, env={}))[field] == want


def test_a_word_with_spaces_may_be_options_of_another_command():
    for argv in (["--wandb-project", "--lr 1e-3 --ema"], ["--wandb-project=--lr 1e-3 --ema"]):
        assert to_dict(load(Toy, argv, env={}))["wandb_project"] == "--lr 1e-3 --ema"


@dataclasses.dataclass(frozen=True)
class Compared:
    """A command that starts another one with options of its own."""

    train_options: str = kinds.other_options()
    ema: bool = False


@pytest.mark.parametrize("given", ["--carry-state", "--lr 1e-3 --ema", "--dropout=0.1", "-x", "no"])
def test_options_of_another_command(tmp_path, given):
    for argv in (["--train-options", given], [f"--train-options={given}"]):
        assert load(Compared, [*argv, "--ema"], env={}) == Compared(given, ema=True)
    assert load(Compared, [], env={"EXPHIL_TRAIN_OPTIONS": given}).train_options == given
    file = write(tmp_path / "c.yaml", f"train-options: '{given}'")
    assert load(Compared, ["--config", file], env={}).train_options == given


@pytest.mark.parametrize("argv", [["--train-options"], ["--train-options", "--ema"]])
def test_options_of_another_command_that_are_missing(argv):
    with pytest.raises(UserError, match="--train-options: want a word after it"):
        load(Compared, argv, env={})


@pytest.mark.parametrize(
    ("text", "field", "want"),
    [
        ("batch-size: 7", "batch_size", 7),
        ("batch_size: 7", "batch_size", 7),
        ("learning-rate: 1e-2", "lr", 0.01),
        ("lr: 1", "lr", 1.0),
        ("hidden: [1, 2]", "hidden", [1, 2]),
        ("hidden: 5", "hidden", [5]),
        ("hidden: []", "hidden", []),
        ("ema: true", "ema", True),
        ("save-best: off", "save_best", False),
        ("temporal: true", "temporal", True),
        ("temporal: null", "temporal", None),
        ("temporal: no", "temporal", False),
        ("max-files: null", "max_files", None),
        ("max-files: 3", "max_files", 3),
        ("name: '2026'", "name", "2026"),
        ("name: -dash", "name", "-dash"),
        ("colour: BLUE", "colour", "BLUE"),
        ("replays: /a b", "replays", "/a b"),
        ("", "batch_size", 64),
    ],
)
def test_yaml_values(tmp_path, text, field, want):
    got = load(Toy, ["--config", write(tmp_path / "c.yaml", text)], env={})
    assert to_dict(got)[field] == want


@pytest.mark.parametrize(
    ("variable", "value", "field", "want"),
    [
        ("EXPHIL_BATCH_SIZE", "7", "batch_size", 7),
        ("EXPHIL_REPLAYS_DIR", "/data", "replays", "/data"),
        ("EXPHIL_WANDB_PROJECT", "mine", "wandb_project", "mine"),
        ("EXPHIL_EMA", "1", "ema", True),
        ("EXPHIL_TEMPORAL", "true", "temporal", True),
        ("EXPHIL_SAVE_BEST", "False", "save_best", False),
        ("EXPHIL_HIDDEN", "1,2 3", "hidden", [1, 2, 3]),
        ("EXPHIL_MAX_FILES", "none", "max_files", None),
        ("EXPHIL_BATCH_SIZE", "", "batch_size", 64),
    ],
)
def test_environment_values(variable, value, field, want):
    assert to_dict(load(Toy, [], env={variable: value}))[field] == want


def test_every_alias_leads_to_its_option():
    for alias, row in FORMER.items():
        if not row.to or row.value is not None or row.is_file:
            continue
        target = row.to[0]
        cls = dataclasses.make_dataclass("One", [(target, int, 0)], frozen=True)
        flag = "--" + alias.replace("_", "-")
        assert to_dict(load(cls, [flag, "3"], env={})) == {target: 3}
        assert to_dict(load(cls, [], env={f"EXPHIL_{alias.upper()}": "4"})) == {target: 4}


def test_an_option_outranks_an_alias_of_its_name():
    cls = dataclasses.make_dataclass("Two", [("player", int, 0), ("player_port", int, 0)])
    assert to_dict(load(cls, ["--player", "3"], env={})) == {"player": 3, "player_port": 0}


# -- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--batch-sise", "3"], ["--batch-sise", "--batch-size"]),
        (["--learning-rat", "3"], ["--learning-rat", "--lr"]),
        (["--zzz"], ["--zzz", "unknown", "--help"]),
        (["--no-batch-size"], ["--no-batch-size", "unknown"]),
        (["--inner.lr", "3"], ["--inner.lr", "unknown"]),
        (["--batch-size", "x"], ["--batch-size: want an integer", "'x'"]),
        (["--batch-size=1.5"], ["--batch-size: want an integer", "'1.5'"]),
        (["--backbone", "cnn"], ["--backbone: want one of mlp, mamba", "'cnn'"]),
        (["--ema=perhaps"], ["--ema: want true or false", "'perhaps'"]),
        (["--no-ema=true"], ["--no-ema: want no value", "'true'"]),
        (["--no-ema", "true"], ["--no-ema: want no value", "'true'"]),
        (["--hidden", "a"], ["--hidden", "a"]),
        (["--hidden", "1,,2"], ["--hidden"]),
        (["--batch-size"], ["--batch-size"]),
        (["stray"], ["stray"]),
        (["--config"], ["--config", "file"]),
        (["--preset", "big"], ["--preset", "unknown"]),
        (["--mode", "rl"], ["--mode", "python -m exphil_tf.ppo"]),
        (["--pseudonym-secret", "x"], ["EXPHIL_PSEUDONYM_SECRET"]),
        (["--prefetch-buffer"], ["--prefetch-buffer: want a value after it"]),
    ],
)
def test_flags_refused(argv, words):
    error = refused(Toy, argv)
    assert error.exit_code == 2
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch-sise: 3", ["batch-sise", "Did you mean batch-size?"]),
        ("batch_sise: 3", ["batch_sise", "Did you mean batch_size?"]),
        ("\nlr: fast", [":2: lr: want a number", "'fast'"]),
        ("hidden: [1, b]", ["hidden: want a list of integers"]),
        ("name: no", ["name: want a word or none", "quotes"]),
        ("batch-size: [1, 2]", ["batch-size: want an integer"]),
        ("batch-size: {a: 1}", ["batch-size: want an integer"]),
        ("inner: {lr: 1}", ["inner", "unknown"]),
        ("lr: 1\nlr: 2", ["lr is given twice"]),
        ("lr: 1\nlearning_rate: 2", ["given twice"]),
        ("[1, 2]", ["want `name: value` lines"]),
        ("a: b: c", ["not valid YAML"]),
        ("x: !!python/object/apply:os.system [ls]", ["not plain YAML", ":1:"]),
        ("pseudonym_secret: x", ["EXPHIL_PSEUDONYM_SECRET"]),
        ("base: production", ["base", "unknown"]),
    ],
)
def test_yaml_refused(tmp_path, text, words):
    path = write(tmp_path / "mine.yaml", text)
    error = refused(Toy, ["--config", path])
    assert path in str(error)
    for word in words:
        assert word in str(error)


def test_missing_file_and_folder(tmp_path):
    assert refused(Toy, ["--config", str(tmp_path / "no.yaml")]).exit_code == 66
    assert "folder" in str(refused(Toy, ["--config", str(tmp_path)]))


def test_a_positional_argument_belongs_on_the_command_line(tmp_path):
    path = write(tmp_path / "c.yaml", "run: here")
    assert "command line" in str(refused(WithArgument, ["--config", path, "runs/a"]))


def test_presets_refused(tmp_path, presets):
    error = refused(Toy, ["--preset", "mewtow"], presets=presets)
    assert "Did you mean mewtwo?" in str(error)
    assert "big, loop, loop2, mewtwo" in str(error)
    assert "circle" in str(refused(Toy, ["--preset", "loop"], presets=presets))
    # No way out of the folder.
    write(tmp_path / "out.yaml", "lr: 1")
    assert "unknown preset" in str(refused(Toy, ["--preset", "../out"], presets=presets))


def test_environment_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(setting_sources, "KNOWN_OPTIONS", tmp_path / "options.txt")
    write(tmp_path / "options.txt", "batch_size\nnum_workers\nreplays\n")
    error = refused(Toy, env={"EXPHIL_BATCH_SISE": "3"})
    assert str(error) == "EXPHIL_BATCH_SISE: unknown option. Did you mean EXPHIL_BATCH_SIZE?"
    assert str(refused(Toy, env={"EXPHIL_LR": "x"})) == "EXPHIL_LR: want a number. Received: 'x'"
    # Another command's option, and other programs' variables, are none of our business.
    assert load(Toy, [], env={"EXPHIL_NUM_WORKERS": "x", "WANDB_API_KEY": "s"}) == Toy()
    # An alias of an option that only another command has.
    assert load(WithArgument, ["r"], env={"EXPHIL_REPLAYS_DIR": "x"}).run == Path("r")


def test_clashing_and_reserved_names_are_refused():
    clash = dataclasses.make_dataclass("Clash", [("inner", Inner, Inner()), ("lr", float, 1.0)])
    with pytest.raises(TypeError, match=r"inner\.lr and lr would share the flag --lr"):
        load(clash, [], env={})
    with pytest.raises(TypeError, match="reserved"):
        load(dataclasses.make_dataclass("R", [("preset", str, "")]), [], env={})


def test_partial_hands_unknown_arguments_on():
    argv = ["--runner", "DirectRunner", "--batch-size", "3", "--streaming", "--hidden", "1", "2"]
    got, rest = load_partial(Toy, argv, env={})
    assert (got.inner.batch_size, got.inner.hidden) == (3, (1, 2))
    assert rest == ["--runner", "DirectRunner", "--streaming"]


# -- Given, families, options without effect -------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Circle:
    """A round one."""

    KIND = Kind.NETWORK

    shape: str = dataclasses.field(default="circle", init=False)
    colour: str = "red"
    """Of the line."""
    radius: float = 1.0


@dataclasses.dataclass(frozen=True)
class Square(Circle):
    """One with corners."""

    shape: str = dataclasses.field(default="square", init=False)
    radius: float = kinds.option(0.0, is_derived=True)
    side: int = kinds.option(2, only_with={"colour": ("red", "blue")})
    """Of all four."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A command whose options depend on a choice."""

    figure: Circle = kinds.family(
        {"circle": Circle, "square": Square},
        by="shape",
        kind=Kind.NETWORK,
        default="circle",
        common={"colour": "blue"},
        implied={("corners", True): "square"},
        called={"disc": "circle"},
    )
    corners: bool = kinds.option(False, kind=Kind.START)
    lr: float = kinds.option(1.0, kind=Kind.RUN)


def drawn(*argv: str, **sources) -> Drawing:
    return load(Drawing, argv, **{"env": {}, **sources})


def test_the_choice_decides_which_options_there_are():
    assert drawn() == Drawing()
    assert drawn().figure == Circle(colour="blue")
    assert drawn("--shape", "square", "--side", "3").figure == Square(colour="blue", side=3)
    assert drawn("--shape", "disc", env={"EXPHIL_SHAPE": "square"}) == Drawing()
    assert drawn("--corners", "--side", "3", "--shape", "circle").figure == Square("blue", side=3)
    assert [o.name for o in options(Drawing).values()] == [
        "shape", "colour", "radius", "side", "corners", "lr",
    ]  # fmt: skip
    for argv, sentence in (
        (["--side", "2"], "--side: no option of --shape circle, but of square. Leave it out."),
        (["--corners", "--radius", "1"], "--radius: no option of --shape square, but of circle."),
        (["--shape", "line"], "--shape: want one of circle, square. Received: 'line'"),
        (["--corners", "--colour", "x", "--side", "2"], "--side: has no effect without --colour r"),
    ):
        assert str(refused(Drawing, argv)).startswith(sentence)


def test_what_was_not_meant_for_the_choice_is_dropped(tmp_path):
    for text, rest in (("side: 3", {}), ("colour: blue\nside: 2\nshape: circle", {})):
        file = write(tmp_path / "c.yaml", text)
        argv = ["--config", file, "--shape", "circle", "--colour", "blue"]
        assert drawn(*argv, env={"EXPHIL_SIDE": "4"}, **rest).figure == Circle(colour="blue")
    file = write(tmp_path / "c.yaml", "side: 2\nlr: 1")  # at its default: a dump of all options
    assert drawn("--config", file) == Drawing()
    file = write(tmp_path / "c.yaml", "side: 3")
    assert f"{file}:1: side: no option" in str(refused(Drawing, ["--config", file]))
    saved = Saved({"shape": "circle", "side": 3, "colour": "green"}, "old")
    assert drawn(saved=saved).figure == Circle(colour="green")
    assert to_dict(drawn(saved=saved)) == {
        "shape": "circle", "colour": "green", "radius": 1.0, "corners": False, "lr": 1.0,
    }  # fmt: skip
    assert from_dict(Drawing, to_dict(drawn("--shape", "square"))) == drawn("--shape", "square")


def test_load_tells_what_was_given_and_where(tmp_path, presets):
    file = write(tmp_path / "c.yaml", "batch-size: 64\nema: true\n")
    saved = Saved({"high": 18, "low": 1, "max_files": 3}, "runs/a")
    loaded = load_given(
        Toy,
        ["--preset", "mewtwo", "--config", file, "--lr", "1e-4", "--verbose"],
        env={"EXPHIL_TEMPORAL": "none", "EXPHIL_MAX_FILES": "4"},
        presets=presets,
        saved=saved,
    )
    assert loaded.given == {
        "lr": (Rank.FLAG, "--lr"),
        "verbosity": (Rank.FLAG, "--verbose"),
        "temporal": (Rank.VARIABLE, "EXPHIL_TEMPORAL"),
        "max_files": (Rank.VARIABLE, "EXPHIL_MAX_FILES"),
        "low": (Rank.SAVED, "runs/a: low"),
        "ema": (Rank.FILE, f"{file}:2: ema"),
        "hidden": (Rank.PRESET, "preset big:2: hidden"),
        "characters": (Rank.PRESET, "preset mewtwo:3: characters"),
    }
    assert loaded.config == load(
        Toy,
        ["--hidden", "256", "256", "--characters", "mewtwo", "--ema", "--low", "1", "--verbose"],
        env={"EXPHIL_MAX_FILES": "4"},
    )


def test_tyro_parses_nothing_but_the_request_for_help(monkeypatch, capsys):
    calls, plain = [], tyro.cli
    monkeypatch.setattr(tyro, "cli", lambda *a, **k: calls.append(a) or plain(*a, **k))
    argv = ["--preset", "gpu_standard", "--lr", "1e-3", "--data", "x"]
    env = {"EXPHIL_EPOCHS": "3", "EXPHIL_STATE_SIZE": "8"}
    load(train_config(), argv, env=env, presets=config.PRESETS)
    assert not calls
    with pytest.raises(SystemExit):
        load(train_config(), [*argv, "--help"], env=env, presets=config.PRESETS)
    assert len(calls) == 1
    assert "--state-size=8" in capsys.readouterr().out


def test_help_says_whose_an_option_is(capsys):
    with pytest.raises(SystemExit):
        load(Drawing, ["--help"], env={})
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--side INT Of all four. Of square. (default: 2)" in shown
    assert "--colour STR Of the line. (default: blue)" in shown
    assert "--shape {circle,square}" in shown


# -- Writing back --------------------------------------------------------------------------------


def test_dump_repeats_the_configuration(tmp_path):
    numbers = ["--batch-size", "3", "--lr", "1e-5", "--hidden", "1", "2", "--ema"]
    words = ["--name", "no", "--colour", "BLUE", "--replays", "a", "--characters", "fox"]
    got = load(Toy, [*numbers, *words, "--wandb-api-key", "s3cret"], env={})
    text = dump_yaml(got)
    again = load(Toy, ["--config", write(tmp_path / "c.yaml", text)], env={})
    assert again == dataclasses.replace(got, wandb_api_key="")
    assert from_dict(Toy, to_dict(got)) == again
    assert "s3cret" not in text
    assert "wandb" in text
    assert "api" not in text
    json.dumps(to_dict(got))


def test_from_dict_is_strict():
    with pytest.raises(UserError, match="checkpoint: sise"):
        from_dict(Toy, {"sise": 3}, origin="checkpoint")


def test_help_teaches(capsys, presets):
    with pytest.raises(SystemExit) as stop:
        argv = ["--preset", "big", "--wandb-api-key", "s3cret", "--help"]
        load(Toy, argv, env={"EXPHIL_WANDB_API_KEY": "s3"}, presets=presets, prog="toy")
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("A toy command.", "usage: toy", "--batch-size INT", "Unrolls per step."):
        assert part in shown
    assert "Now in force besides the defaults: --wandb-api-key=… --batch-size=256" in shown
    assert "mewtwo" in shown
    assert "s3" not in shown
    assert "--preset NAME < --config FILE.yaml < EXPHIL_* environment < flags" in shown


# -- The end of a command ------------------------------------------------------------------------


def raiser(error: BaseException):
    def main(argv: list[str]) -> int:
        raise error

    return main


def wrapped(cause: Exception) -> Exception:
    """As Beam or a process pool hands on what was raised inside."""
    error = RuntimeError("while running a step")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("bad", "Do this."), 2, "error: bad. Do this."),
        (UserError("what?", "This.", exit_code=65), 65, "error: what? This."),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/d"), 74, "/d: No space left"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), 66, "/x: No such file"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 73, "permissions"),
        (OSError(errno.EIO, "Input/output error", "/x"), 74, "/x: Input/output error"),
        (MemoryError(), 70, "out of memory"),
        (wrapped(UserError("bad", exit_code=65)), 65, "error: bad"),
        (wrapped(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), 74, "No space left"),
        (RuntimeError("write failed: No space left on device; a/b"), 74, "Free some space"),
        (RuntimeError("two\nlines"), 70, "two lines"),
        (RuntimeError("odd"), 70, "internal: RuntimeError: odd"),
    ],
)
def test_run_ends_in_one_line_and_a_code(error, code, words, capsys):
    with pytest.raises(SystemExit) as stop:
        run(raiser(error), [])
    assert stop.value.code == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (75, 75)])
def test_run_passes_the_code_on(returned, code):
    seen: list[str] = []

    def main(argv: list[str]) -> int | None:
        seen.extend(argv)
        return returned

    with pytest.raises(SystemExit) as stop:
        run(main, ["--a"])
    assert (stop.value.code, seen) == (code, ["--a"])


def test_a_closed_pipe_is_no_failure():
    code = (
        "from exphil_tf.foundation.errors import run\n"
        "def main(argv):\n    for i in range(100000): print(i)\n"
        "run(main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), error) == (0, b"")


# -- The project's own commands and presets ------------------------------------------------------

ENTRY_MODULES = docs.command_names()
PRESETS = config.preset_names()
LOADERS = {
    "load",
    "load_given",
    "load_partial",
    "config.load",
    "config.load_partial",
    "read_run",
    "read_playing_run",
    "Sources",
}


def command_configs(*commands: str) -> list[type]:
    """The root dataclass of each command: what its source hands to `load`."""
    found: list[type] = []
    for name in commands or ENTRY_MODULES:
        module = docs.command_module(name)
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in LOADERS:
                found.append(getattr(module, ast.unparse(node.args[0])))
    return list(dict.fromkeys(found))


def test_the_list_of_all_options_is_fresh(update_golden):
    names = sorted({name for cls in command_configs() for name in options(cls)})
    if update_golden:
        config.KNOWN_OPTIONS.write_text("\n".join(names) + "\n")
    listed = config.KNOWN_OPTIONS.read_text().split()
    assert listed == names, "run `pytest tests/foundation/test_config.py --update-golden`"


def test_every_option_of_every_command_has_a_kind():
    for cls in command_configs():
        without = [name for name, option in options(cls).items() if option.kind is None]
        assert not without, cls


def test_what_an_option_goes_with_is_an_option_that_is_settled_before_it():
    for cls in command_configs():
        known = options(cls)
        for place, option in enumerate(known.values()):
            assert set(option.only_with) <= set(known)
            for name in option.only_with:
                # Only then is it settled when this one's turn comes.
                assert list(known).index(name) < place or not known[name].only_with


@dataclasses.dataclass(frozen=True)
class Seats:
    """A command one of whose options leaves no room for another."""

    KIND = Kind.RESULT

    port: int | None = None
    both: bool = kinds.option(True, only_without=("port",))


def test_an_option_that_another_leaves_no_room_for(tmp_path):
    assert load(Seats, ["--no-both"], env={}) == Seats(None, False)
    assert load(Seats, ["--port", "3"], env={}) == Seats(3)
    with pytest.raises(UserError, match="--both: has no effect beside --port. Leave it out"):
        load(Seats, ["--port", "3", "--both"], env={})
    # Turned off it would be anyway, and a file that names every option wishes for nothing.
    (tmp_path / "all.yaml").write_text("both: true\n")
    config = ["--config", str(tmp_path / "all.yaml")]
    assert load(Seats, ["--port", "3", *config], env={}) == Seats(3)
    assert load(Seats, ["--port", "3", "--no-both"], env={}) == Seats(3)
    assert load(Seats, ["--port", "3"], env={"EXPHIL_BOTH": "1"}) == Seats(3)


def test_an_option_has_one_kind_in_all_commands_that_train():
    train, distill = (options(cls) for cls in command_configs("train", "distill"))
    assert {name: option.kind for name, option in train.items()}.items() <= {
        name: option.kind for name, option in distill.items()
    }.items()


def test_what_became_of_an_option_is_said_of_those_that_are_gone():
    names = {name for cls in command_configs() for name in options(cls)}
    for name, row in FORMER.items():
        assert bool(row.to) != bool(row.why), name
        assert set(row.to) <= names, name  # it leads somewhere
        # Of the same name there may be an option in commands that are not meant.
        if name in names:
            own = [cls for cls in command_configs() if name in options(cls)]
            assert row.only_with and not any(row.only_with in options(cls) for cls in own) or row.to
    assert set(ELSEWHERE) - {"action_repeat"} <= names


def train_config() -> type:
    return importlib.import_module("exphil_tf.training.train_config").TrainConfig


def preset_values(name: str) -> dict:
    return yaml.safe_load((config.PRESETS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", PRESETS)
def test_preset_loads_and_says_only_what_differs(name):
    cls = train_config()
    values = preset_values(name)
    base = values.pop("base", None)
    below = load(cls, ["--preset", base] if base else [], env={}, presets=config.PRESETS)
    got = to_dict(load(cls, ["--preset", name], env={}, presets=config.PRESETS))
    for key, value in values.items():
        field = key.replace("-", "_")
        assert got[field] == value
        assert got[field] != to_dict(below)[field], f"{name}: {key} repeats what it inherits"


def test_the_original_presets_are_all_there():
    original = (
        "quick standard full_cpu gpu_quick gpu_mlp_quick gpu_lstm_quick gpu_gru_quick "
        "gpu_attention_quick gpu_standard full production rtx4090_quick rtx4090_standard "
        "rtx4090_full mewtwo ganondorf link gameandwatch zelda"
    )
    assert set(original.split()) <= set(PRESETS)


@pytest.mark.parametrize("name", ["mewtwo", "ganondorf", "link", "gameandwatch", "zelda"])
def test_character_preset_is_production_on_that_character(name):
    cls = train_config()
    production = to_dict(load(cls, ["--preset", "production"], env={}, presets=config.PRESETS))
    got = to_dict(load(cls, ["--preset", name], env={}, presets=config.PRESETS))
    differing = {key for key in got if got[key] != production[key]}
    assert got["train_character"] == name
    assert differing <= {"train_character", "window_size"}


# Commands that want one of several options, besides those that have no default.
CHOOSES = {"temporal": ("backbone",)}
"""Options that settle another."""
EITHER_OR = {
    "kmeans": [["--replays", "some-path"], ["--data", "some-path"]],
    "play": [[], ["--opponent", "some-path", "--games", "2"]],
}


def required(cls: type) -> list[str]:
    """The least arguments that a command takes."""
    words = []
    for option in options(cls).values():
        if option.default is dataclasses.MISSING:
            words += [] if option.is_positional else [option.flag]
            words.append(first_word(option.annotation))
    return words


@functools.cache
def resolved(cls: type, argv: tuple[str, ...]) -> dict[str, object]:
    return to_dict(load(cls, argv, env={}))


def changed_by(cls: type, option: Option, base: list[str]) -> set[str]:
    """Names that change when the option does; empty if no value tried was accepted."""
    base = [*base, *stage(cls, option)]
    before = resolved(cls, tuple(base))
    for attempt in other_values(option, before[option.name]):
        try:
            after = to_dict(load(cls, [*base, *attempt], env={}))
        except UserError:
            continue
        kept = before.keys() & after.keys()
        if changed := {name for name in kept if after[name] != before[name]}:
            return changed
    return set()


@pytest.mark.parametrize("command", ENTRY_MODULES)
def test_every_flag_changes_the_configuration_and_only_what_it_names(command):
    for cls in command_configs(command):
        bases = [required(cls) + either for either in EITHER_OR.get(command, [[]])]
        visible = resolved(cls, tuple(bases[0]))
        for option in options(cls).values():
            is_hidden = option.family is None and option.name not in visible
            if not option.is_positional and not is_hidden:
                changes = [changed_by(cls, option, base) for base in bases]
                named = {option.name, *CHOOSES.get(option.name, ())}
                assert named in changes, f"{command}: {option.flag}: {changes}"
