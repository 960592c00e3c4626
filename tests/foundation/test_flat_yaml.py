"""Configuration files within bounds: whatever stands in one, a command answers at once."""

import random
import string

import pytest
import yaml

from exphil_tf.foundation import flat_yaml
from exphil_tf.foundation.config import PRESETS, dump_yaml, load
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.train_config import TrainConfig

LAUGHS = "epochs:\n  - &a [x, x]\n  - [*a, *a]\n"


def refused(text: str | bytes) -> UserError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(UserError) as caught:
        flat_yaml.parse(data, origin="mine.yaml")
    assert len(str(caught.value)) < 400
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "mine.yaml:2: epochs: want words or numbers in the list"),
        ("lr: &a 1\nepochs: *a", "mine.yaml:2: not plain YAML: an alias"),
        ("epochs: " + "[" * 5000, "mine.yaml:1: epochs: want words or numbers"),
        ("epochs: " + "{a: " * 5000, "mine.yaml:1: epochs: nested too deep"),
        ("epochs: " + "- " * 3000, "mine.yaml:1: not valid YAML"),
        ("<<: {lr: 1}\nepochs: !!set {a}", "mine.yaml:2: not plain YAML: a tag"),
        ("name: !!binary aGk=", "a tag"),
        ("? [a]\n: 1", "mine.yaml:1: want the name of an option"),
        ("lr: 1\n\nlr: 2", "mine.yaml:3: lr is given twice"),
        ("lr: 1\n---\nlr: 2", "mine.yaml:2: want one document"),
        ("lr: 1\n\tepochs: 2", "mine.yaml:2: not valid YAML: a tab"),
        ("lr: 1\nname: \0", "mine.yaml:2: not valid YAML: character U+0000"),
        ('name: "a\\0b"', "mine.yaml:1: name: want no control characters"),
        ('name: "\\ud800"', "control characters"),
        (b"lr: 1\nname: \xff", "mine.yaml:2: not UTF-8: byte 0xff"),
        ("lr: 1".encode("utf-16"), "mine.yaml:1: not UTF-8"),
        ("a" * 70 + ": 1", "want the name of an option. Received: 'aaa"),
        ("name: " + "b" * 5000, "name: want at most 4096 characters. Received: 5000"),
        ("lr: " + "9" * 3000, "lr: want a number of at most 64 digits"),
        ("x: 1\n" * 40_000, "want at most 131072 bytes"),
        ("".join(f"a{i}: 1\n" for i in range(1001)), "mine.yaml:1001: want at most 1000 names"),
        ("lr: [" + "1," * 20_000 + "]", "want a list of at most 10000"),
        ("[1, 2]", "want `name: value` lines. Received: a list"),
        ("just words", "Received: a word"),
    ],
)
def test_refused_with_file_line_and_reason(text, reason):
    message = str(refused(text))
    assert message.startswith("mine.yaml")
    assert reason in message


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff"])
def test_nothing_is_no_values(text):
    assert flat_yaml.parse(text.encode(), origin="x") == {}


def test_words_stay_what_they_look_like():
    text = "a: 2020-99-99\nb: 1:30\nc: 0x_\nd: 1_000\ne: .5\nf: ~\ng: off\nh: '7'\ni: =\nj: [1, x]"
    assert flat_yaml.parse(text.encode(), origin="x") == {
        "a": "2020-99-99", "b": "1:30", "c": "0x_", "d": 1000, "e": 0.5, "f": None, "g": False,
        "h": "7", "i": "=", "j": [1, "x"],
    }  # fmt: skip


def test_equals_the_safe_loader_on_every_preset():
    for path in sorted(PRESETS.glob("*.yaml")):
        assert flat_yaml.read(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_reads_back_what_is_dumped():
    text = dump_yaml(load(TrainConfig, ["--lr", "0.5", "--data", "päth \udcff/x", "--name", "no"]))
    assert flat_yaml.parse(text.encode(), origin="x") == yaml.safe_load(text)


@pytest.mark.parametrize("name", ["laughs", "deep", "date"])
def test_case_of_a_hostile_file(cases_dir, name):
    with pytest.raises(UserError) as caught:
        load(TrainConfig, ["--config", str(cases_dir / f"yaml-laughs/{name}.yaml"), "--data", "D"])
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 400


def mutated(draw: random.Random, text: bytes) -> bytes:
    """A file with one to six of: a flipped bit, a cut, a doubled part, a piece of YAML's syntax."""
    pieces = (
        "&a ", "*a", "!!set ", "- ", ": ", "\n", "\t", "[", "{", "}", "? ", "---\n", "%YAML 9\n",
        "<<: ", "|\n", ">-\n", "'", '"', "\\", "#", "\0", "\x85", "\ufeff", "0x_", "2020-99-99",
        "1:9", ".inf", "9" * 5000, "[" * 2000, "\ud7ff", "@", "`", "!python/name:os.system ",
    )  # fmt: skip
    data = bytearray(text)
    for _ in range(draw.randint(1, 6)):
        at, kind = draw.randrange(len(data) + 1), draw.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[at : at + draw.randint(1, 30)]
        elif kind == 2:
            data[at:at] = data[max(0, at - draw.randint(1, 40)) : at]
        elif kind == 3:
            data[at:at] = draw.choice(pieces).encode()
        else:
            data[at:at] = draw.choice(string.printable).encode()
    return bytes(data)


def test_three_thousand_mutations_are_read_or_refused():
    draw = random.Random(0)
    originals = [path.read_bytes() for path in sorted(PRESETS.glob("*.yaml"))]
    originals += [dump_yaml(TrainConfig()).encode(), LAUGHS.encode()]
    read = 0
    for _ in range(3000):
        data = mutated(draw, draw.choice(originals))
        try:
            values = flat_yaml.parse(data, origin="mine.yaml")
        except UserError as error:
            assert error.exit_code == 2
            assert len(str(error)) < 400
        else:
            read += 1
            assert all(isinstance(name, str) for name in values)
    assert 500 < read < 2500


def test_mutations_never_reach_a_command_as_a_traceback(tmp_path):
    draw = random.Random(1)
    path = tmp_path / "c.yaml"
    original = b"batch-size: 3\nhidden: [8, 8]\nlr: 1e-3\nema: true\nname: mine\ndata: D\n"
    for _ in range(150):
        path.write_bytes(mutated(draw, original))
        try:
            load(TrainConfig, ["--config", str(path)], env={})
        except UserError as error:
            assert error.exit_code == 2
            assert len(str(error)) < 1500
