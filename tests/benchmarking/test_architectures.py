"""Architectures compared: in small, with processes that only pretend, and (slow) as users do."""

import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from exphil_tf import benchmark
from exphil_tf.benchmarking import architecture_training, architectures
from exphil_tf.benchmarking.architecture_training import Job, Point, Trained, fit_width
from exphil_tf.benchmarking.benchmark_config import ArchitecturesConfig
from exphil_tf.exporting.publishing import publish
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation.errors import UserError
from models.backbones import BACKBONES
from tests.exported_policies import export, make_policy
from tests.sample_dataset import make_dataset

NLL = {"mlp": 1.5, "lstm": 0.9}
SMALL = (
    "--no-jit --batch-size 4 --window-size 20 --burn-in 4 --head-hidden 4 --action-dim 4 "
    "--character-dim 2 --lr 1e-2"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    sample = ("--games", "3", "--min-seconds", "5", "--max-seconds", "6")
    return make_dataset(tmp_path_factory.mktemp("architectures"), sample, "--min-frames", "100")


@pytest.fixture(scope="module")
def bundle():
    return export(make_policy("mlp"))


class Pretend:
    """Leaves what the commands would leave; the training of `failing` ends as a crash does."""

    def __init__(self, bundle, failing=()):
        self.bundle, self.failing = bundle, failing
        self.calls = []

    def __call__(self, module, argv):
        name = module.rpartition(".")[2]
        self.calls.append(name)
        return getattr(self, name)(list(argv)) or (0, "")

    def architecture_training(self, argv):
        job = Job(**json.loads(Path(argv[0]).read_text()))
        if job.backbone in self.failing:
            return 70, "Traceback\nerror: internal: it fell over\n"
        curve = [Point(5, 50.0, 1.0, 2.0), Point(10, 100.0, 2.0, NLL[job.backbone])]
        made = Trained([8, 8], 650_000, 10, 100.0, 2.0, 4.0, 1.0, 10**9, curve)
        Path(argv[1]).write_text(json.dumps(dataclasses.asdict(made)))
        return None

    def evaluate(self, argv):
        name = Path(argv[0]).name
        output = Path(argv[argv.index("--output") + 1])
        output.mkdir(parents=True, exist_ok=True)
        policy, repeat = (
            {"nll": n, "frames": 7, "components": {c: {"nll": n / 6} for c in COMPONENTS}}
            for n in (NLL[name], 1.2)
        )
        values = {"policy": policy, "baselines": {"repeat": repeat}}
        (output / "evaluation.json").write_text(json.dumps(values))

    def export(self, argv):
        output = Path(argv[argv.index("--output") + 1])
        publish(dataclasses.replace(self.bundle, folder=output), {})


def compare(config, pretend):
    console = Console(width=132, record=True, file=io.StringIO())
    code = architectures.run(config, console, run_module=pretend)
    return code, console.export_text()


def asked(dataset, folder, **options):
    names = tuple(NLL)
    return ArchitecturesConfig(
        data=dataset, output=folder, only=names, latency_frames=10, **options
    )


def test_ranked_written_and_not_done_again(dataset, bundle, tmp_path):
    config, pretend = asked(dataset, tmp_path), Pretend(bundle)
    code, text = compare(config, pretend)
    assert code == 0
    assert pretend.calls == ["architecture_training", "evaluate", "export", "export"] * 2
    assert text.index("│ lstm") < text.index("│ mlp")
    values = json.loads((tmp_path / "architectures.json").read_text())
    assert [(row["rank"], row["name"], row["nll"]) for row in values["rows"]] == [
        (1, "lstm", 0.9),
        (2, "mlp", 1.5),
    ]
    first = values["rows"][0]
    assert (first["frames_per_s"], first["frames_per_cpu_s"]) == (25.0, 50.0)
    assert set(first["latency"]) == {"float32", "int8-static"}
    page = (tmp_path / "architectures.html").read_text()
    assert page.count("<svg") == 3
    # Self-contained: no address to fetch anything from.
    assert not re.search(r"https?://|src=|@import|url\((?!#)", page)
    again = Pretend(bundle)
    assert compare(config, again)[0] == 0
    assert again.calls == []
    other = dataclasses.replace(config, seed=1)
    compare(other, again)
    assert again.calls == pretend.calls


def test_a_crash_names_the_architecture(dataset, bundle, tmp_path):
    pretend = Pretend(bundle, failing=("mlp",))
    with pytest.raises(UserError, match="mlp: training ended with 70: internal: it fell") as error:
        compare(asked(dataset, tmp_path), pretend)
    assert error.value.exit_code == 70
    code, text = compare(asked(dataset, tmp_path, continue_on_error=True), pretend)
    assert code == 70
    assert "mlp: training ended with 70: internal: it fell over" in text
    values = json.loads((tmp_path / "architectures.json").read_text())
    assert [row["name"] for row in values["rows"]] == ["lstm"]
    assert [failure["name"] for failure in values["failures"]] == ["mlp"]


@pytest.mark.slow
def test_one_is_trained_with_the_parameters_and_updates_that_were_asked_for(dataset, tmp_path):
    job = Job("mlp", str(dataset), str(tmp_path / "run"), SMALL, 40_000, 1.0, 6, 3, 60, 0)
    trained = architecture_training.train(job)
    assert trained.hidden[0] == trained.hidden[1]
    assert trained.hidden[0] % architecture_training.WIDTH_STEP == 0
    assert trained.parameters == pytest.approx(40_000, rel=0.15)
    assert [point.updates for point in trained.curve] == [2, 4, 6]
    assert trained.frames == trained.curve[-1].frames <= 6 * 4 * 16
    assert 0 < trained.curve[0].cpu_s < trained.curve[-1].cpu_s == trained.cpu_s
    assert trained.peak_bytes > 10**8
    assert (tmp_path / "run/policy/weights.safetensors").is_file()
    assert Trained.from_dict(json.loads(json.dumps(dataclasses.asdict(trained)))) == trained


@pytest.mark.parametrize(
    ("wanted", "width"),
    [(1, 8), (8**2, 8), (90, 8), (110, 8), (170, 16), (80**2 - 1, 80), (81**2, 80), (85**2, 88)],
)
def test_width_is_the_nearest(wanted, width):
    assert fit_width(lambda w: w * w, wanted) == width


def test_every_backbone_is_compared_but_for_those_left_out():
    config = ArchitecturesConfig(data=Path("d"))
    assert config.names == list(BACKBONES)
    assert "lstm" not in dataclasses.replace(config, skip=("lstm",)).names
    with pytest.raises(UserError, match="cnn"):
        benchmark.main(["architectures", "--data", "d", "--only", "cnn"])
    with pytest.raises(ValueError, match="at least one backbone left"):
        ArchitecturesConfig(data=Path("d"), only=("mlp",), skip=("mlp",))


def test_quick_is_a_tenth():
    config = ArchitecturesConfig(data=Path("d"), quick=True, updates=400).scaled()
    assert (config.updates, config.cpu_seconds, config.latency_frames) == (40, 30.0, 300)
    assert config.limit_frames == 30_000


@pytest.mark.slow
def test_the_command_as_users_run_it(dataset, tmp_path):
    budget = ["--cpu-seconds", "5", "--parameters", "40000", "--latency-frames", "50"]
    options = [*budget, "--only", "mlp", "lstm", "--output", str(tmp_path)]
    words = ["architectures", "--data", str(dataset), *options]
    train = ["--train-options", SMALL]
    command = [sys.executable, "-m", "exphil_tf.benchmark", *words, *train]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "architectures.json").read_text())
    assert {row["name"] for row in values["rows"]} == {"mlp", "lstm"}
    for row in values["rows"]:
        assert row["trained"]["cpu_s"] == pytest.approx(5, rel=0.4)
