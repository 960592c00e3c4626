"""`preprocess`, `verify`, `scan` and `kmeans` as users run them: output, bad input, exit codes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from replay_collection import small_config, write_collection
from rich.console import Console

from beam_pipelines.build_dataset import build_dataset
from exphil_tf import evaluate, kmeans, preprocess, scan, train, verify
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.options import options
from exphil_tf.process.exit_codes import (
    EXIT_CANNOT_CREATE,
    EXIT_DATA,
    EXIT_INCOMPATIBLE,
    EXIT_NO_INPUT,
    EXIT_OK,
    EXIT_USAGE,
)
from exphil_tf.records.manifest import MANIFEST, load_manifest, seal
from exphil_tf.replays.players import PUBLIC_KEY_NOTE, SECRET_VARIABLE

SHORT = ["--min-frames", "100", "--num-shards", "2", "--workers", "2"]
SENTENCE = 200
"""Longest acceptable error, in characters, paths apart."""


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "replays"
    write_collection(folder, 5)
    (folder / "broken.slp").write_bytes(bytes(5000))
    return folder


# Before any command runs: a fork server that starts within one has its socket in a folder that goes
# when the command ends.
@pytest.fixture(scope="module", autouse=True)
def data(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "data"
    build_dataset(small_config(replays, folder))
    return folder


def outcome(main, argv: list, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        run(main, [str(word) for word in argv])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def refused(main, argv: list, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    code, _, err = outcome(main, argv, capsys)
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, "one sentence, no traceback"
    return code, err


def test_preprocess_tells_what_became_of_every_file(
    replays: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    log = ["--error-log", tmp_path / "logs/errors.txt"]
    argv = ["--replays", replays, "--output", tmp_path / "data", *SHORT, *log]
    code, out, _ = outcome(preprocess.main, argv, capsys)
    assert code == EXIT_OK
    (told,) = (line for line in out.splitlines() if line.startswith("damaged: "))
    assert told.endswith(f"{replays}/broken.slp: bad_magic") or "bad_magic (" in told
    assert (tmp_path / "logs/errors.txt").read_text() == f"{told.removeprefix('damaged: ')}\n"
    assert refused(preprocess.main, [*argv, "--fail-fast"], capsys)[0] == EXIT_DATA
    lines = {
        cells[0].strip(): cells[1].strip()
        for line in out.splitlines()
        if len(cells := line.strip("│ ").split("│")) == 2
    }
    manifest = load_manifest(tmp_path / "data")
    assert lines["files"] == "6"
    assert lines["games"] == "5"
    assert lines["rejected"] == lines["bad_magic"] == "1"
    assert lines["frames"] == f"{manifest.totals.frames:,}"
    per_frame = manifest.totals.bytes_per_perspective_frame
    assert lines["bytes per frame and perspective"] == f"{per_frame:.1f}"
    assert {"seconds", "frames/s"} <= set(lines)
    code, out, _ = outcome(preprocess.main, [*argv, "--show-quality-stats"], capsys)
    assert code == EXIT_OK
    assert "nothing to do" in out
    bins = re.findall(r"│ (\d+)-(\d+) +│ +(\d+) │", out)
    assert len(bins) == 10 and sum(int(count) for *_, count in bins) == 5


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--replays", "nowhere"], EXIT_NO_INPUT, "nowhere: no such file or folder"),
        (["--replays", "."], EXIT_NO_INPUT, "no .slp file or archive"),
        (["--num-shard", "3"], EXIT_USAGE, "Did you mean --num-shards?"),
        (["--direct_num_worker", "3"], EXIT_USAGE, "Did you mean --direct_num_workers?"),
        (["--runner", "NoRunner"], EXIT_USAGE, "NoRunner"),
        (["--runner", "DataflowRunner"], EXIT_USAGE, "required option: --project"),
        (["--runner", "PortableRunner"], EXIT_USAGE, "--job_endpoint"),
        (["--direct_num_workers", "-3"], EXIT_USAGE, "--direct_num_workers: want 0"),
        (["stray"], EXIT_USAGE, "stray"),
        (["--player-port", "9"], EXIT_USAGE, "player_port: want 1 to 4"),
        (["--characters", "foxx"], EXIT_USAGE, "Received: 'foxx'"),
        (["--variants", "mirrored"], EXIT_USAGE, "want original"),
        (["--val-split", "1.5"], EXIT_USAGE, "val_split"),
        (["--chunk-frames", "8"], EXIT_USAGE, "chunk_frames"),
        (["--workers", "0"], EXIT_USAGE, "workers: want 1"),
        (["--parse-timeout-s", "-1"], EXIT_USAGE, "parse_timeout_s"),
        (["--max-files", "many"], EXIT_USAGE, "--max-files: want"),
        (["--output", "gs://bucket/data"], EXIT_USAGE, "--runner=DataflowRunner"),
    ],
)
def test_preprocess_refuses(
    argv: list[str],
    code: int,
    message: str,
    replays: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    base = [] if "--replays" in argv else ["--replays", str(replays)]
    base += [] if "--output" in argv else ["--output", str(tmp_path / "data")]
    got, err = refused(preprocess.main, [*base, *argv], capsys)
    assert message in err
    assert got == code
    assert not (tmp_path / "data" / MANIFEST).exists()


def test_preprocess_does_not_replace_another_dataset(
    replays: Path, data: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    code, err = refused(preprocess.main, ["--replays", replays, "--output", data], capsys)
    assert code == EXIT_CANNOT_CREATE
    assert "--overwrite" in err
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_preprocess_without_one_usable_game(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.slp").write_bytes(bytes(5000))
    argv = ["--replays", tmp_path / "a.slp", "--output", tmp_path / "data"]
    code, err = refused(preprocess.main, argv, capsys)
    assert code == EXIT_DATA
    assert "rejected.jsonl" in err


def test_unreachable_output(replays: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        code, _ = refused(preprocess.main, ["--replays", replays, "--output", output], capsys)
        assert code in (EXIT_CANNOT_CREATE, EXIT_NO_INPUT)


def test_verify(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    code, out, _ = outcome(verify.main, [data, "--deep"], capsys)
    assert (code, "sound" in out) == (EXIT_OK, True)
    assert refused(verify.main, [tmp_path / "none"], capsys)[0] == EXIT_NO_INPUT
    code, err = refused(verify.main, [tmp_path], capsys)
    assert code == EXIT_NO_INPUT
    assert "exphil_tf.preprocess" in err
    assert refused(verify.main, [], capsys)[0] == EXIT_USAGE


def test_verify_finds_damage(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import shutil

    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    shard = next(copy.glob("train-*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1])
    code, out, err = outcome(verify.main, [copy], capsys)
    assert code == EXIT_DATA
    assert shard.name in out
    assert "problems" in err
    values = json.loads((copy / MANIFEST).read_bytes()) | {"fingerprint": "other"}
    (copy / MANIFEST).write_bytes(seal(values))
    assert refused(verify.main, [copy], capsys)[0] == EXIT_INCOMPATIBLE


def test_scan(replays: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = ["--replays", replays, "--json", tmp_path / "s.json", "--html", tmp_path / "s.html"]
    code, out, _ = outcome(scan.main, [*argv, "--list"], capsys)
    assert code == EXIT_OK
    assert f"{replays}/broken.slp: bad_magic" in out
    facts = json.loads((tmp_path / "s.json").read_bytes())
    assert (facts["files"], facts["games"], facts["rejects"]) == (6, 5, {"bad_magic": 1})
    assert sum(facts["quality"]["histogram"].values()) == 5
    assert facts["characters"] == {"falco": 5, "fox": 5}
    assert facts["character_frames"] == {"falco": facts["frames"], "fox": facts["frames"]}
    assert facts["exclusions"] == {"too_short": 5}, "under the default options"
    assert facts["matchups"] == {"falco vs fox": 5}
    assert facts["advice"]
    for line in facts["advice"]:
        assert line in out
    page = (tmp_path / "s.html").read_text()
    assert "falco" in page
    assert "http" not in page, "self-contained"
    assert refused(scan.main, ["--replays", tmp_path / "none"], capsys)[0] == EXIT_NO_INPUT


def test_what_a_policy_is_measured_on(replays: Path, data: Path, tmp_path: Path) -> None:
    """Its own dataset, if it is there, or replays."""
    facts = {"provenance": {"data": {"folder": str(data)}}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    (tmp_path / "weights.safetensors").write_bytes(b"")
    console = Console(quiet=True)
    config = load(evaluate.EvaluateConfig, [str(tmp_path)], env={})
    assert evaluate._data(config, console) == data
    flags = ["--replays", str(replays), "--datasets-dir", str(tmp_path / "d"), *SHORT[:2]]
    config = load(evaluate.EvaluateConfig, [str(tmp_path), *flags], env={})
    manifest = load_manifest(evaluate._data(config, console))
    assert manifest.frames("train") and manifest.frames("validation")
    with pytest.raises(UserError, match="want one of them. Received: both"):
        load(evaluate.EvaluateConfig, [str(tmp_path), *flags, "--data", "d"], env={})
    (tmp_path / "config.json").write_text(json.dumps({"provenance": {}}))
    config = load(evaluate.EvaluateConfig, [str(tmp_path)], env={})
    with pytest.raises(UserError, match="trained on is not here. Give --data"):
        evaluate._data(config, console)


def test_kmeans_from_replays_and_from_a_dataset(
    replays: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = ["--replays", replays, "--min-frames", "100", "--output", tmp_path / "a.json"]
    assert outcome(kmeans.main, argv, capsys)[0] == EXIT_OK
    everything = ["--replays", replays, "--output", tmp_path / "data", "--val-split", "0", *SHORT]
    assert outcome(preprocess.main, everything, capsys)[0] == EXIT_OK
    argv = ["--data", tmp_path / "data", "--output", tmp_path / "b.json"]
    assert outcome(kmeans.main, argv, capsys)[0] == EXIT_OK
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    content = json.loads((tmp_path / "a.json").read_bytes())
    codec = ControllerCodec(axis_centres=tuple(content["axis_centres"]))
    assert codec.num_axis == 21
    assert sum(content["histogram"]) == 4 * content["perspective_frames"]
    argv = ["--replays", replays, "--min-frames", "100", "--max-files", "2"]
    assert outcome(kmeans.main, [*argv, "--output", tmp_path / "c.json"], capsys)[0] == EXIT_OK
    assert json.loads((tmp_path / "c.json").read_bytes())["games"] == 2


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ([], EXIT_USAGE, "either --replays or --data"),
        (["--data", "nowhere"], EXIT_NO_INPUT, "no such folder"),
        (["--data", "."], EXIT_NO_INPUT, "not a finished dataset"),
        (["--data", "x", "--buckets", "20"], EXIT_USAGE, "odd number"),
        (["--data", "x", "--axes", "main_z"], EXIT_USAGE, "main_z"),
    ],
)
def test_kmeans_refuses(
    argv: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, err = refused(kmeans.main, ["--output", "k.json", *argv], capsys)
    assert message in err
    assert got == code
    assert not (tmp_path / "k.json").exists()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _without_a_shard(folder: Path) -> None:
    next(folder.glob("train-original-*.tfrecord")).unlink()


def _damaged(folder: Path) -> None:
    data = bytearray((folder / MANIFEST).read_bytes())
    data[-20] ^= 1
    (folder / MANIFEST).write_bytes(data)


def _cut(folder: Path) -> None:
    shard = max(folder.glob("train-original-*.tfrecord"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-1])


def _of_another_schema(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(seal({**values, "fingerprint": "0" * 16}))


@pytest.mark.parametrize("command", [verify, kmeans, train])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (shutil.rmtree, EXIT_NO_INPUT),
        (_empty, EXIT_NO_INPUT),
        (_without_a_shard, EXIT_NO_INPUT),
        (_damaged, EXIT_DATA),
        (_cut, EXIT_DATA),
        (_of_another_schema, EXIT_INCOMPATIBLE),
    ],
)
def test_an_unusable_dataset_ends_every_command_alike(
    command, change, code: int, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Missing is 66, damaged 65, of another schema 78."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    change(folder)
    argv = {
        verify: [folder],
        kmeans: ["--data", folder, "--output", tmp_path / "centres.json"],
        train: ["--data", folder, "--dry-run"],
    }[command]
    assert refused(command.main, argv, capsys)[0] == code


@pytest.mark.parametrize("name", ["preprocess", "verify", "scan", "kmeans"])
def test_help_starts_neither_beam_nor_tensorflow(name: str) -> None:
    code = (
        f"import sys; from exphil_tf import {name}\n"
        f"try: {name}.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'apache_beam', 'tensorflow', 'keras'} & set(sys.modules) or 0))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == "0\n"
    assert "--" in result.stdout


def test_no_two_options_of_a_command_share_a_flag() -> None:
    for cls in (
        preprocess.DatasetConfig, scan.ScanConfig, kmeans.KMeansConfig, verify.VerifyConfig
    ):  # fmt: skip
        assert options(cls)


def test_errors_are_user_errors() -> None:
    with pytest.raises(UserError):
        preprocess.main(["--replays", "nowhere", "--output", "x"])


SECRET = "0123456789abcdef"


def test_every_command_takes_the_secret_from_the_environment(
    replays: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    scanned: list[str] = []
    folders: list[str] = []
    for secret in (None, SECRET, SECRET):
        if secret is not None:
            monkeypatch.setenv(SECRET_VARIABLE, secret)
        argv = ["--replays", replays, "--output", tmp_path / f"data{secret}", *SHORT]
        code, out, _ = outcome(preprocess.main, argv, capsys)
        assert code == EXIT_OK
        assert (PUBLIC_KEY_NOTE in out) == (secret is None)
        assert outcome(scan.main, ["--replays", replays, "--json", "s.json"], capsys)[0] == EXIT_OK
        scanned.append(str(json.loads(Path("s.json").read_bytes())["players"]))
        # A dry run names the folder by the options' content, the key's fingerprint included.
        _, out, _ = outcome(train.main, ["--replays", replays, "--dry-run"], capsys)
        folders.append(out.partition("preprocessed into ")[2].partition(";")[0])
    public, keyed = (load_manifest(tmp_path / name) for name in ("dataNone", f"data{SECRET}"))
    assert list(public.splits["train"]) == ["original"]  # training mirrors by itself
    assert public.config["pseudonyms"] == "public" != keyed.config["pseudonyms"]
    assert not {one.player for one in public.players} & {one.player for one in keyed.players}
    assert all(one.player in scanned[1] for one in keyed.players)
    assert scanned[0] != scanned[1] == scanned[2]
    assert "" != folders[0] != folders[1] == folders[2]
    for path in (tmp_path / f"data{SECRET}").glob("*.json*"):
        assert SECRET not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [preprocess, scan, train])
def test_a_weak_secret_is_refused_everywhere(
    command,
    replays: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    output = ["--output", "data"] if command is preprocess else []
    flag = ["--pseudonym-secret", SECRET]
    code, err = refused(command.main, ["--replays", replays, *output, *flag], capsys)
    assert (code, SECRET_VARIABLE in err) == (EXIT_USAGE, True)
    for weak in ("", "hush"):
        monkeypatch.setenv(SECRET_VARIABLE, weak)
        code, err = refused(command.main, ["--replays", replays, *output], capsys)
        assert (code, SECRET_VARIABLE in err) == (EXIT_USAGE, True)
