"""The folder of a run: which one, whether it may be used, what is in it.

runs/NAME/
  config.yaml    resolved options; `--config` on it repeats the run
  config.json    provenance and results
  log.jsonl      everything that happened
  tb/            TensorBoard
  checkpoints/   to resume from
  policy/        the policy to play with: the best, or the latest
  snapshots/     of a run by playing: earlier policies, which it met
  contest.json   of a run by playing: games counted at its end
  ratings.json   of one whose snapshots were rated
  league.json    of a league: everything that it knows, beside turns/, runs of its players
  lock           held while a process trains
"""

import difflib
import secrets
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.former_options import without_suffix
from exphil_tf.process.exit_codes import (
    EXIT_CANNOT_CREATE,
    EXIT_DATA,
    EXIT_INCOMPATIBLE,
    EXIT_NO_INPUT,
)
from exphil_tf.training import backups
from exphil_tf.training.backups import is_backup
from exphil_tf.training.option_kinds import differing_options, kind_of
from exphil_tf.training.run_config import RunConfig
from exphil_tf.training.run_files import (
    CHECKPOINTS,
    CONFIG_JSON,
    CONFIG_YAML,
    CONTENTS,
    CONTEST,
    LEAGUE,
    LOG,
    POLICY,
    RATINGS,
    SNAPSHOTS,
    TENSORBOARD,
    TURNS,
    read_json,
)
from exphil_tf.training.run_summary import summarise

__all__ = [
    "CHECKPOINTS",
    "CONFIG_JSON",
    "CONFIG_YAML",
    "CONTEST",
    "LEAGUE",
    "LOG",
    "POLICY",
    "RATINGS",
    "RUN_JSON",
    "SNAPSHOTS",
    "TENSORBOARD",
    "TURNS",
    "RunLocation",
    "check_same",
    "claim",
    "find_bundle",
    "locate",
    "newest_unfinished",
    "read_json",
    "runs_in",
    "save_options",
    "saved_facts",
]
_ADJECTIVES = "crisp frame_perfect grounded lucky moonwalking neutral patient quick shielded steady"
_NOUNS = "chaingrab dashdance edgeguard falcon ledgedash multishine pivot shine tech waveland"
_OTHER_FOLDERS = {"policy.onnx": "an exported policy, no run", "manifest.json": "a dataset, no run"}
RUN_JSON = "run.json"
"""Copy of `config.json` in each checkpoint, under its checksums."""


@dataclass(frozen=True)
class RunLocation:
    """Where a run goes, and from where it goes on."""

    run_dir: Path
    is_resuming: bool
    """Whether to go on from a checkpoint if there is one."""
    checkpoint: Path | None = None
    """The one to go on from; None for the newest."""

    @property
    def saved_yaml(self) -> Path | None:
        """The options that the run was started with, if it was."""
        path = self.run_dir / CONFIG_YAML
        return path if self.is_resuming and path.is_file() else None

    def notes(self) -> list[str]:
        """A sentence if a run that was to be resumed starts anew, so that a slip is noticed."""
        if not self.is_resuming or self.checkpoint is not None:
            return []
        if self.saved_yaml is None:
            near = _near(self.run_dir)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            return [f"--resume auto: nothing to resume in {self.run_dir}, a new run starts{hint}"]
        if not any((self.run_dir / CHECKPOINTS).glob("step-*")):
            return [f"--resume: {self.run_dir} has no checkpoint yet and starts from its beginning"]
        return self._notes_of_finished(saved_facts(self.run_dir).get("results"))

    def _notes_of_finished(self, results: Mapping[str, Any] | None) -> list[str]:
        if not results:
            return []
        longer = "--epochs, --min-steps or --max-steps"
        if results.get("stopped_early"):
            longer = "more --patience or --no-early-stopping"
        elif results.get("reason") == "out of budget":
            longer = "--max-hours or --max-cost"
        return [
            f"--resume: {self.run_dir} had {results.get('reason', 'finished')} at step "
            f"{results.get('steps', '?')}; it goes on from there if {longer} ask for more"
        ]


def _near(run_dir: Path) -> list[str]:
    """Runs beside a folder whose names are almost its own."""
    beside = [folder.name for folder in runs_in(run_dir.parent)]
    return difflib.get_close_matches(run_dir.name, beside, n=3, cutoff=0.6)


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs in a folder, but for backups, sorted."""
    found = (path.parent for path in folder.glob(f"*/{CONFIG_YAML}"))
    return sorted(path for path in found if not is_backup(path))


def locate(run: RunConfig, *, prefix: str) -> RunLocation:
    """Chooses the folder.

    Args:
      run: `run_dir`, `runs_dir`, `name`, `resume`.
      prefix: of a made-up name, such as `mewtwo_mamba`.

    Raises: UserError: if `resume` is a path of no run, or a run is to be replaced and gone on with.
    """
    if run.overwrite and run.resume is not None:
        raise UserError(
            "--overwrite and --resume: want one of them. Received: both",
            "--resume auto goes on with a run, --overwrite starts anew and keeps a backup.",
        )
    runs = Path(run.runs_dir)
    named = Path(run.run_dir) if run.run_dir else runs / run.name if run.name else None
    if run.resume is None:
        return RunLocation(named or runs / _new_name(prefix), is_resuming=False)
    if run.resume == "auto":
        folder = named or newest_unfinished(runs)
        return RunLocation(folder or runs / _new_name(prefix), is_resuming=True)
    return _location_of_path(Path(run.resume), runs)


def _location_of_path(path: Path, runs: Path) -> RunLocation:
    stem = Path(without_suffix(str(path)).removesuffix("_interrupt"))
    # A file of the original trainer's is called as the run was.
    for folder in (path, *((stem, runs / stem.name) if stem != path else ())):
        if (folder / CONFIG_YAML).is_file():
            return RunLocation(folder, is_resuming=True)
    run_dir = path.parent.parent
    if path.is_dir() and path.parent.name == CHECKPOINTS and (run_dir / CONFIG_YAML).is_file():
        return RunLocation(run_dir, is_resuming=True, checkpoint=path)
    raise UserError(
        f"--resume: {path}: neither a run's folder nor a checkpoint in one",
        "Give runs/NAME, runs/NAME/checkpoints/step-…, or auto.",
        exit_code=EXIT_NO_INPUT,
    )


def newest_unfinished(runs: Path) -> Path | None:
    """The run without results that was started last.

    Raises: UserError: (65) if a run can't tell, as it might be the one.
    """
    started = [
        (str(facts.get("created", "")), path)
        for path in runs_in(runs)
        if (facts := saved_facts(path)) and facts.get("results") is None
    ]
    return max(started)[1] if started else None


def find_bundle(folder: Path) -> Path:
    """The policy bundle in a run's folder, or the folder itself if it is one.

    Raises: UserError: if there is none (66).
    """
    # A run's folder has a config.json too, so a bundle given by itself must show its weights.
    if (folder / "policy" / "config.json").is_file():
        return folder / "policy"
    if (folder / "config.json").is_file() and (folder / WEIGHTS).is_file():
        return folder
    what = "no such folder" if not folder.exists() else "a file" if not folder.is_dir() else None
    for name, kind in _OTHER_FOLDERS.items():
        what = kind if (folder / name).is_file() else what
    if what is not None:
        raise UserError(
            f"{folder}: {what}",
            "Give the folder of a run, such as runs/NAME.",
            exit_code=EXIT_NO_INPUT,
        )
    if folder.resolve().name.startswith("step-"):
        raise UserError(
            f"{folder}: a checkpoint, which holds the state of training and no policy",
            "Give its run's folder, whose policy/ is the best so far.",
        )
    raise UserError(
        f"{folder}: holds no policy yet (no policy/config.json with its weights)",
        "A run exports one after its first validation; or give another run.",
        exit_code=EXIT_NO_INPUT,
    )


def claim(location: RunLocation, *, overwrite: bool, backup_count: int = 1) -> Path | None:
    """Makes the folder ready; call it while holding its lock.

    Args:
      location: where the run goes.
      overwrite: whether another run may be there, which becomes a backup.
      backup_count: backups to keep; with 0 that run is deleted.

    Returns: the backup that was made, if one was.

    Raises: UserError: (73) if a run is there that is neither to be resumed nor overwritten.
    """
    run_dir = location.run_dir
    backups.recover(run_dir)
    check_free(location, overwrite=overwrite)
    if location.is_resuming or not (run_dir / CONFIG_YAML).exists():
        return None
    return backups.set_aside(run_dir, CONTENTS, marker=CONFIG_YAML, keep=backup_count)


def check_free(location: RunLocation, *, overwrite: bool) -> None:
    """Refuses a folder that `claim` would refuse, so that a command can tell before it works.

    Raises: UserError: (73) if a run is there that is neither to be resumed nor overwritten.
    """
    run_dir = location.run_dir
    if not (location.is_resuming or overwrite) and (run_dir / CONFIG_YAML).exists():
        raise UserError(
            f"{run_dir}: holds a run ({summarise(run_dir).in_words()})",
            "Go on with it by --resume auto, replace it by --overwrite (which keeps a backup), or "
            "choose another --name.",
            exit_code=EXIT_CANNOT_CREATE,
        )


def save_options(run_dir: Path, text: str) -> None:
    """Writes the resolved options (`config.dump_yaml`), without those of one start."""
    values = {name: v for name, v in yaml.safe_load(text).items() if kind_of(name).is_saved}
    dumped = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
    atomic.write_bytes(run_dir / CONFIG_YAML, dumped.encode())


def saved_facts(run_dir: Path) -> dict[str, Any]:
    """What a run was started with: its `config.json`; empty for a run that never got to save.

    Raises: UserError: (65) if it is damaged, or missing beside checkpoints: whether options and
      data are the same could then not be told.
    """
    path = run_dir / CONFIG_JSON
    facts, checkpoints = read_json(path), sorted((run_dir / CHECKPOINTS).glob("step-*"))
    if _is_whole(facts) or not (path.exists() or checkpoints):
        return facts
    copies = [one / RUN_JSON for one in checkpoints if _is_whole(read_json(one / RUN_JSON))]
    step = "Start a new run under another --name."
    if copies:
        step = f"Put back its copy: {shlex.join(['cp', str(copies[-1]), str(path)])}"
    what = "damaged" if path.exists() else "missing"
    raise UserError(
        f"{path}: {what}, so options and data of this run cannot be compared",
        step,
        exit_code=EXIT_DATA,
    )


def _is_whole(facts: Mapping[str, Any]) -> bool:
    config, data = facts.get("config"), facts.get("data")
    return isinstance(config, dict) and isinstance(data, dict) and "manifest_sha256" in data


def check_same(run_dir: Path, saved: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuses to go on with a run under options or data that would make it another one.

    Args:
      run_dir: the run's folder.
      saved: what it was started with, as `saved_facts` or a checkpoint's copy tells.
      facts: what it would go on with; `sources` names entries that it learns from, by content.

    Raises: UserError: (78) lists what differs.
    """
    before, config = saved.get("config", {}), facts["config"]
    differing = differing_options(before, config)
    if differing:
        shown = ", ".join(f"{n} (was {before.get(n)}, is {config.get(n)})" for n in differing[:6])
        raise UserError(
            f"--resume: {run_dir} was started with other options: {shown}",
            "Leave these flags out, or start a new run under another --name.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    if saved.get("data", {}).get("manifest_sha256") != facts["data"]["manifest_sha256"]:
        raise UserError(
            f"--resume: {run_dir} was started on other data",
            "Give the dataset or replays it was started with, or start a new run.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    for name in sorted({*saved.get("sources", ()), *facts.get("sources", ())}):
        if saved.get(name) != facts.get(name):
            raise UserError(
                f"--resume: {run_dir} was started with another {name}",
                f"Give the {name} it was started with, or start a new run.",
                exit_code=EXIT_INCOMPATIBLE,
            )


def _new_name(prefix: str) -> str:
    words = [secrets.choice(text.split()) for text in (_ADJECTIVES, _NOUNS)]
    return "_".join([prefix, *words, time.strftime("%Y%m%d_%H%M%S")])
