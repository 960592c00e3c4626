"""Every command and option of ExPhil's guides as typed: it is understood, or says what to do.

Lines are read as the commands read them, up to where work would start, in one process and without
TensorFlow.
"""

import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_tf import __main__ as exphil
from exphil_tf import distill, docs, ppo, self_play, train
from exphil_tf.foundation.config import load, load_partial
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.former_commands import FORMER_COMMANDS
from exphil_tf.foundation.former_options import FORMER, without_suffix
from exphil_tf.rl import playing_run
from exphil_tf.training.run_options import read_playing_run, read_run
from exphil_tf.training.train_config import resolve

LINES = [
    line
    for line in (Path(__file__).parent / "fixtures/guide_lines.txt").read_text().splitlines()
    if not line.startswith("#")
]
# Part of a line → part of what is answered; every other line is understood.
REFUSED = {
    "priv/kmeans_centers.nx --temporal": "Fit some: python -m exphil_tf.kmeans",
    "--hidden-sizes 512,256": "as mamba has equal blocks (num_layers): --hidden 512",
    "--resume checkpoints/": "neither a run's folder nor a checkpoint in one. Give runs/NAME",
    "benchmark_architectures --replays": "python -m exphil_tf.preprocess --replays DIR",
    "gpu_benchmark --replays": "python -m exphil_tf.preprocess --replays DIR",
    "benchmark_architectures --max-files": "python -m exphil_tf.preprocess --max-files N",
    "quantize_onnx": "python -m exphil_tf.export RUN --output BUNDLE --precision int8-qat",
    "exphil.download_replays": "make sample games: python -m exphil_tf.samples",
    "--mode": "reinforcement learning is python -m exphil_tf.ppo",
    "train --action-repeat": "It is an option of play.",
    "train_ppo --pretrained checkpoints/imitation_latest_policy.bin --dolphin": "--dolphin: "
    "/path/to/slippi: want something that is there. Received: nothing",
    "train_self_play": "--pretrained: want the folder of a run. Received: nothing. Train a policy",
    "convert_to_onnx": "python -m exphil_tf.export RUN --output BUNDLE",
    "melee_bridge": "python -m exphil_tf.play",
    "fetch_replays": "python -m exphil_tf.sync down b2:BUCKET replays",
    "auto_sync_checkpoints": "python -m exphil_tf.train --sync b2:BUCKET/checkpoints",
    "setup_workspace": "it is scripts/setup_workspace.sh",
    "runpod_entrypoint": "it is scripts/runpod_entrypoint.sh",
    # Without its arguments; with them it stands elsewhere in the list.
    "export_onnx\n": "RUN: want a path",
    "export_numpy\n": "RUN: want a path",
    "eval_model\n": "RUN: want a list of paths",
    "replay_converter\n": "--replays: want a list",
    "train_ppo\n": "--pretrained: want the folder of a run. Received: nothing",
}
IN_VAIN = ("has no effect without --", "no option of --backbone tx_like, but of ")
"""What is answered to an option whose companion is missing, where it is typed by itself."""
CLASSES = {
    "evaluate": "EvaluateConfig", "export": "ExportConfig", "generate_soft_labels":
    "SoftLabelsConfig", "kmeans": "KMeansConfig", "play": "PlayConfig", "preprocess":
    "DatasetConfig", "runs": "WatchConfig", "scan": "ScanConfig", "setup": "SetupConfig",
}  # fmt: skip
"""Of the options of commands that make no run."""


def read(line: str):
    """What a line's command reads of it."""
    name, *argv = shlex.split(line)
    words = exphil.resolve(name)
    if not words:
        raise exphil._unknown(name)
    command, argv = words[0], [*words[1:], *argv]
    module = importlib.import_module(f"exphil_tf.{command}")
    if command in ("train", "distill"):
        cls = {"train": train.TrainConfig, "distill": distill.DistillConfig}[command]
        loaded, location = read_run(cls, argv, prog=module.PROG)
        config, notes = resolve(loaded.config)
        config.policy()
        return config, notes, location
    if command in ("ppo", "self_play"):
        cls = {"ppo": ppo.PpoConfig, "self_play": self_play.SelfPlayConfig}[command]
        loaded, _ = read_playing_run(cls, argv, prog=module.PROG)
        playing_run.check(loaded.config)
        return loaded.config
    if command == "benchmark":
        return load(module.ArchitecturesConfig, argv[1:])
    cls = getattr(module, CLASSES[command])
    if command in ("kmeans", "scan", "preprocess"):
        config, unknown = load_partial(cls, argv)
        assert not unknown
        return config
    return load(cls, argv[1:] if command == "runs" else argv)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """An empty folder but for replays and what the guide's lines name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "replays").mkdir()
    (tmp_path / "c.yaml").write_text("epochs: 3\n")
    centres = '{"axis_centres": [-1.0, 0.0, 1.0], "rms_error": 0.1}'
    (tmp_path / "k.json").write_text(centres)


def expected(line: str) -> str | None:
    return next((text for part, text in REFUSED.items() if part in f"{line}\n"), None)


def check(line: str, capsys) -> None:
    """Raises AssertionError unless a line is understood, or answered as it should be."""
    wanted = expected(line)
    try:
        read(line)
    except UserError as error:
        is_by_itself = line.startswith("train ")
        assert (wanted and wanted in str(error)) or (
            is_by_itself and any(text in str(error) for text in IN_VAIN)
        ), f"{line}: {error}"
    else:
        assert wanted is None, line
    # What is accepted without doing anything says so.
    typed = [word[2:].replace("-", "_") for word in line.split() if word.startswith("--")]
    rows = [FORMER.get(name) or FORMER.get(name.removeprefix("no_")) for name in typed]
    idle = [row for row in rows if row is not None and row.why and not row.is_refused]
    idle = [row for row in idle if row.only_with != "dolphin" or line.startswith("play")]
    said = capsys.readouterr().err
    assert wanted or said.count("has nothing left to do: ") >= len(idle), line


def test_lines_are_understood_or_answered(capsys):
    for line in LINES:
        if not line.startswith("train ") and "--help" not in line:
            check(line, capsys)


@pytest.mark.slow
def test_options_by_themselves_are_understood_or_answered(capsys):
    for line in LINES:
        if line.startswith("train "):
            check(line, capsys)


def test_none_is_missing():
    trains = [one for one in LINES if one.startswith(("train_from_replays", "gpu_train"))]
    assert len(trains) == 96  # 122 with those that several guides have
    assert len(LINES) > 330
    named = {shlex.split(line)[0].removeprefix("exphil.") for line in LINES}
    assert set(FORMER_COMMANDS) - named <= {"find_lr", "scan_replays", "registry"}, "by us alone"


def test_learning_by_playing_as_the_guides_do_it():
    line = "--pretrained checkpoints/imitation_latest_policy.bin --timesteps 10000"
    config = read(f"train_ppo --mock {line}")
    assert (config.game.game_type, config.run.timesteps) == ("mock", 10_000)
    assert playing_run.pretrained(config) == Path("checkpoints/imitation_latest")
    config = read(f"train_self_play {line} --num-games 4 --max-episode-frames 18000 --track-elo")
    assert (config.game.num_games, config.game.max_episode_frames) == (4, 18_000)
    assert config.mix.track_elo


def test_a_file_of_a_run_and_a_folder_of_runs(tmp_path):
    _, _, location = read("train_from_replays --checkpoint out/model.axon --seed 1")
    assert (str(location.run_dir), location.is_resuming) == ("out/model", True)
    config, _, location = read("train_from_replays --checkpoint out --train-character fox")
    assert location.run_dir.parent == Path("out") and not location.is_resuming
    assert location.run_dir.name.startswith("fox_")
    # What the flag implies is not what was typed.
    config, _, location = read("train_from_replays --checkpoint out/model.axon --overwrite")
    assert config.run.overwrite and not location.is_resuming
    config, *_ = read("distill --teacher t --output small.bin")
    assert config.run.run_dir == "small"
    assert read("eval_model --policy a/b_policy.bin").run == (Path("a/b"),)
    assert read("eval_model --policy a_policy.bin b").run == (Path("a"), Path("b"))
    assert read("eval_model --checkpoint a/b.axon").run == (Path("a/b"),)
    assert str(read("export --checkpoint a/b.axon --output c").run) == "a/b"
    assert read("eval_model run other").run == (Path("run"), Path("other"))
    assert without_suffix("a/.axon") == "a/.axon"


def test_a_game_as_the_guides_play_it(capsys):
    config = read("play_dolphin_async --policy a/lstm_policy.bin --dolphin d --iso m.iso")
    assert (str(config.policy), config.asynchronous) == ("a/lstm", True)
    assert not read("scripts/play_dolphin.exs --policy runs/mine --action-repeat 3").asynchronous
    read("play_dolphin_async --policy model.axon --backbone mamba_nif")
    assert (
        "--backbone has nothing left to do: in play, as the policy's folder says"
        in capsys.readouterr().err
    )


def test_memory_is_what_was_asked_for():
    def backbone(line):
        return read(f"train --data d {line}")[0].backbone.backbone

    assert backbone("--temporal") == "lstm"
    assert backbone("--temporal --backbone mlp") == "mlp"
    assert backbone("--temporal --preset quick") == "lstm"  # which names none
    assert backbone("--temporal --preset gpu_lstm_quick") == "lstm"
    assert backbone("--preset gpu_quick --temporal") == "mamba"
    assert backbone("--backbone attention --temporal") == "sliding_window"


def test_commas_part_words_but_not_paths():
    config, *_ = read("train --replays a,b --characters fox,marth falco --stages fd,battlefield")
    assert config.data.replays == ("a,b",)
    assert config.filters.characters == ("fox", "marth", "falco")
    assert config.filters.stages == ("fd", "battlefield")


def test_a_variable_for_every_command_is_no_wish(monkeypatch):
    monkeypatch.setenv("EXPHIL_WANDB_PROJECT", "mine")
    monkeypatch.setenv("EXPHIL_NUM_HEADS", "8")
    monkeypatch.setenv("EXPHIL_PREFETCH", "1")
    assert read("train --data d")[0].run.wandb_project == "exphil"
    assert read("train --data d --wandb")[0].run.wandb_project == "mine"
    assert read("eval_model r").run == (Path("r"),)


def test_options_of_the_original_in_a_file(tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("prefetch: true\nlearning_rate: 0.5\n")
    assert read("train --data d --config old.yaml")[0].schedule.lr == 0.5
    assert "old.yaml:1: prefetch has nothing left to do: input is always" in capsys.readouterr().err


def test_the_list_of_commands_and_their_flags():
    known = exphil.commands()
    assert set(known) == set(docs.command_names())
    assert all(10 < len(text) < 100 for text in known.values())
    assert all(row.words or row.note for row in FORMER_COMMANDS.values())
    assert exphil.resolve("scripts/train_from_replays.exs") == ("train",)
    assert exphil.resolve("find-lr") == ("find_lr",)
    with pytest.raises(UserError, match="Did you mean evaluate"):
        raise exphil._unknown("evaluat")


@pytest.mark.slow
def test_a_shell_completes(tmp_path):
    for shell in ("bash", "zsh"):
        script = exphil.completion(shell)
        assert "--batch-size" in script
    (tmp_path / "c.sh").write_text(exphil.completion("bash"))
    words = "COMP_WORDS=(exphil train --backb); COMP_CWORD=2"
    asked = f"source c.sh; {words}; _exphil; echo ${{COMPREPLY[@]}}"
    ended = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["--backbone"]


def test_a_command_runs_under_the_one_name(tmp_path):
    """And tells by its exit code what it tells by itself."""
    ended = subprocess.run(
        [sys.executable, "-m", "exphil_tf", "scripts/validate_replays.exs", "--replays", "none"],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert ended.returncode == 66, ended.stderr
    assert "no such file or folder" in ended.stderr
