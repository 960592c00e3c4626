"""Options about replays that give no game, and what is said of the games that are left."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exphil_tf.foundation.kinds import Kind, option


@dataclass(frozen=True)
class RejectConfig:
    """What happens about damaged replays, and what is said of the games that are left."""

    KIND: ClassVar = Kind.WORK

    fail_fast: bool = option(False, kind=Kind.START)
    """End with an error that names the first damaged replay, instead of leaving such out."""
    show_errors: bool = True
    """Name the first damaged replays with their reasons; rejected.jsonl names all."""
    error_log: Path | None = None
    """Also write a line for every replay that gave no game to this file."""
    show_quality_stats: bool = option(False, kind=Kind.START)
    """Print how good the games are that are left, by the score that --min-quality goes by."""
