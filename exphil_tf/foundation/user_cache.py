"""Where things are kept that can be made anew."""

import os
from pathlib import Path


def user_cache() -> Path:
    """`$XDG_CACHE_HOME/exphil-tf`, or `~/.cache/exphil-tf`; RuntimeError without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given else Path.home() / ".cache") / "exphil-tf"
