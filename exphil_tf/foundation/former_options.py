"""What became of the options that users of the original trainer know, from its code and its guides.

One row per option that is called otherwise here, or has nothing left to do: what reads options goes
by it, and the page *Coming from ExPhil* is made of it. An option of the same name is no row.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

_FILE = re.compile(r"(?P<stem>.*[^/])(_policy)?\.(axon|bin|npz|nx)")


class Former(NamedTuple):
    """What an option of the original is here."""

    to: tuple[str, ...] = ()
    """Options of which the first one that a command has is meant."""
    value: str | None = None
    """The value it stands for, of a flag without one."""
    why: str = ""
    """What took over, of an option that has nothing left to do."""
    words: int = 0
    """How many words such an option has behind it."""
    is_refused: bool = False
    """Whether it is an error to give it, as leaving it out would not be what was meant."""
    only_with: str = ""
    """It is meant in commands that have this option; empty: in all."""
    is_file: bool = False
    """Whether its value named a file of the original's, of which there is a folder here."""


def _idle(why: str, words: int = 0, only_with: str = "") -> Former:
    return Former(why=why, words=words, only_with=only_with)


_EMBEDDED = "the embedding is the model's first layer and is never stored"
_CACHED = "the dataset itself is the cache, kept by content; --datasets-dir chooses its folder"
_MEASURED = "--auto-batch-size measures what fits, with a margin"

FORMER: dict[str, Former] = {
    # Other names.
    "async": Former(("asynchronous",)),  # which is a word of Python
    "character": Former(("characters",)),
    "checkpoint_freq": Former(("save_every",)),
    "export_csv": Former(("csv",)),
    "gradient_accumulation": Former(("accumulation_steps",)),
    "gradient_clip": Former(("max_grad_norm",)),
    "hidden_sizes": Former(("hidden",)),
    "input": Former(("replays",)),
    "k": Former(("buckets",), only_with="buckets"),
    "learning_rate": Former(("lr",)),
    "num_epochs": Former(("ppo_epochs",), only_with="ppo_epochs"),
    "player": Former(("player_port",)),
    "replays_dir": Former(("replays",)),
    "rollout_length": Former(("rollout",), only_with="rollout"),
    "seq_len": Former(("window_size",)),
    "student_backbone": Former(("backbone",)),
    "student_hidden": Former(("hidden",)),
    # Files that are folders here. What --checkpoint says is more than a name: see `checkpoint`.
    "output": Former(("run_dir",), only_with="run_dir", is_file=True),
    "policy": Former(("run", "policy"), is_file=True),
    "compare": Former(("run",), only_with="view_games", is_file=True),
    # Flags that stand for an option with a value.
    "backup": Former(("backup_count",), "3"),
    "cache_augmented": Former(("augment_from",), "variants"),
    "hide_errors": Former(("show_errors",), "false"),
    "mixed_precision": Former(("precision",), "bf16"),
    "mock": Former(("game_type",), "mock"),
    "no_backup": Former(("backup_count",), "0"),
    "quiet": Former(("verbosity",), "0"),
    "sim": Former(("game_type",), "sim"),
    "verbose": Former(("verbosity",), "2"),
    # Nothing left to do: accepted with one note.
    "auto_batch_backoff": _idle(_MEASURED, 1),
    "auto_batch_min": _idle(_MEASURED, 1),
    "backbone": _idle(
        "in play, as the policy's folder says what its network is", 1, only_with="dolphin"
    ),
    "cache": _idle(_CACHED),
    "cache_dir": _idle(_CACHED, 1),
    "cache_embeddings": _idle(_EMBEDDED),
    "flash_attention_nif": _idle("XLA fuses the attention kernel"),
    "gc_every": _idle("memory is bounded without it", 1),
    "mmap_embeddings": _idle(_EMBEDDED),
    "mmap_path": _idle(_EMBEDDED, 1),
    "precompute": _idle(_EMBEDDED),
    "prefetch": _idle("input is always prefetched"),
    "prefetch_buffer": _idle("tf.data chooses the buffer", 1),
    "skip_errors": _idle("damaged files are always left out, counted and listed"),
    "stream_chunk_size": _idle("records are always streamed from disk in bounded memory", 1),
    "temperature": _idle(
        "answers are stored as they are; give --temperature to python -m exphil_tf.distill",
        1,
        only_with="passes",
    ),
    "val_concurrency": _idle("validation runs in the same compiled step as training", 1),
    # Refused: to leave them out would not do what they ask for.
    "mode": Former(
        why="training imitates, so drop it; reinforcement learning is python -m exphil_tf.ppo",
        words=1,
        is_refused=True,
        only_with="window_size",
    ),
    "pseudonym_secret": Former(
        why="set it in the environment, as EXPHIL_PSEUDONYM_SECRET: command lines and files are "
        "seen by others",
        words=1,
        is_refused=True,
    ),
}
# Options of some commands, for those that lack them.
ELSEWHERE: dict[str, str] = {
    "action_repeat": "it is an option of play",
    "batch_size": "it is an option of what is trained: --train-options '--batch-size N'",
    "epochs": "the budget of each is in --cpu-seconds or --updates",
    "max_files": "preprocess as many: python -m exphil_tf.preprocess --max-files N",
    "replays": "preprocess them first, python -m exphil_tf.preprocess --replays DIR --output "
    "DATASET, and give --data DATASET",
}
CHECKPOINT = "checkpoint"
"""Named the file that a run wrote, and went on with if it was there; or a folder for such files."""


class Meant(NamedTuple):
    """What a former option with a value comes to."""

    option: str
    value: str


def renamed(name: str, known: Container[str]) -> str | None:
    """The option that a former one is called here; None if it is none, or stands for a value."""
    row = FORMER.get(name)
    if row is None or row.value is not None or not _applies(row, known):
        return None
    return next((target for target in row.to if target in known), None)


def shorthand(name: str, known: Container[str]) -> Meant | None:
    """The option and value that a flag without one stands for."""
    row = FORMER.get(name)
    if row is None or row.value is None or row.to[0] not in known:
        return None
    return Meant(row.to[0], row.value)


def idle(name: str, known: Container[str]) -> Former | None:
    """The row of an option that has nothing left to do in a command, also of its `no_` form."""
    row = FORMER.get(name) or FORMER.get(name.removeprefix("no_"))
    if row is None or row.to or row.is_refused or not _applies(row, known):
        return None
    return row


def refusal(name: str) -> str | None:
    """What to say of an option that is refused."""
    row = FORMER.get(name.removeprefix("no_"))
    return row.why if row is not None and row.is_refused else ELSEWHERE.get(name)


def checkpoint(value: str, known: Container[str]) -> list[Meant]:
    """What `--checkpoint VALUE` comes to.

    Of a file it is the run of that name, gone on with if it is there; of a folder it is where runs
    go; of a command that trains nothing it is the run.
    """
    stem = without_suffix(value)
    if "run" in known:
        return [Meant("run", stem)]
    if "runs_dir" not in known:
        return []
    if stem == value:
        return [Meant("runs_dir", value)]
    return [Meant("run_dir", stem), Meant("resume", "auto")]


def without_suffix(value: str) -> str:
    """The path of one of the original's files without what made it a file: `a/b.axon` → `a/b`."""
    match = _FILE.fullmatch(value)
    return match["stem"].removesuffix("_policy") if match else value


def _applies(row: Former, known: Container[str]) -> bool:
    return not row.only_with or row.only_with in known
