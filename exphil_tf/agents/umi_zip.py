"""The zip that the championship takes: an entry point, requirements, the policy, and this package.

Of the package the modules that a bot loads, and no more: they are found by loading one in a process
of its own. So nothing of TensorFlow is in it, and nothing that is fetched while it plays.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import Bundle, open_bundle
from exphil_tf.melee.enums import zero_index_table
from exphil_tf.process.exit_codes import EXIT_INTERNAL

ROOT = Path(__file__).resolve().parents[2]
_REQUIRED = ("numpy", "onnxruntime", "umi-melee")
_LISTED = """
import json, sys
import exphil_tf.agents.umi_bot
print(json.dumps([m.__file__ for n, m in sorted(sys.modules.items())
                  if n.split(".")[0] == "exphil_tf" and m.__file__]))
"""
_ENTRY = '''"""Plays an exported policy in the championship: python run.py"""

from pathlib import Path

import umi

from exphil_tf.agents.umi_bot import BundleBot


class Bot(BundleBot):
    name = {name!r}
    characters = {characters!r}
    delay = {delay!r}
    reports_win_prob = {reports_win_prob!r}
    bundle = Path(__file__).resolve().parent / "bundle"
    temperature = {temperature!r}


if __name__ == "__main__":
    umi.serve(Bot())
'''
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in the zip, so that the same bot is the same bytes."""


@dataclass(frozen=True)
class BotFacts:
    """What the arena reads of a bot."""

    name: str
    characters: str | tuple[str, ...] | None = None
    """`ALL`, or names; None: chosen at upload."""
    delay: int | None = None
    """None: chosen at upload."""
    temperature: float = 1.0


def write_bot(bundle: Path, output: Path, facts: BotFacts) -> list[str]:
    """Writes the zip; returns the names in it.

    Raises: UserError: if the bundle is none, or plays no batches.
    """
    opened = open_bundle(bundle)
    if opened.config.form != "step" or opened.config.batch_size is not None:
        raise UserError(
            f"{bundle}: want a step of any number of rows, which the arena asks for",
            "Export it with --form step and --batch-size 0.",
        )
    if facts.delay is not None:
        opened.config.told().ids(frame_delay=facts.delay)
    parts = dict(_parts(opened, facts))
    atomic.write_bytes(output, _zipped(parts))
    return list(parts)


def _parts(bundle: Bundle, facts: BotFacts) -> Iterator[tuple[str, bytes]]:
    values = asdict(facts) | {"reports_win_prob": bundle.config.win_probability is not None}
    yield "run.py", _ENTRY.format(**values).encode()
    yield "requirements.txt", _requirements(_REQUIRED).encode()
    pairs = np.argwhere(zero_index_table()).tolist()
    yield "zero_index.json", json.dumps(pairs, separators=(",", ":")).encode()
    for path in sorted(bundle.folder.iterdir()):
        if path.is_file():
            yield f"bundle/{path.name}", path.read_bytes()
    for path in _modules():
        yield path.relative_to(ROOT).as_posix(), path.read_bytes()


def _requirements(names: Sequence[str]) -> str:
    return "".join(f"{name}=={metadata.version(name)}\n" for name in names)


def _modules() -> list[Path]:
    done = subprocess.run(
        [sys.executable, "-c", _LISTED], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise UserError(
            f"a bot does not load: {done.stderr.strip()[-200:]}",
            "Install what it needs: pip install umi-melee.",
            exit_code=EXIT_INTERNAL,
        )
    return [Path(path) for path in json.loads(done.stdout.splitlines()[-1])]


def _zipped(parts: dict[str, bytes]) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            file.writestr(info, data)
    return buffer.getvalue()
