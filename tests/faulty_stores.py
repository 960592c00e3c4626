"""Stores that break at a chosen place, and checkpoints to copy to them."""

import itertools
from pathlib import Path

import numpy as np

from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.cloud.store import FolderStore, StoreError


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class FaultyStore(FolderStore):
    """A folder as a store that fails.

    Args:
      root: the folder.
      kill_at: the operation, counted from 1, in whose place the process dies; a put leaves nothing.
      refuse: operations that fail and would do so no more the next time, as a 503 does.
      cut: keys whose next download lacks its last byte.
      flip: keys whose next download has a wrong byte.
      stale: whether listings are those of when the store was opened.
    """

    def __init__(self, root, *, kill_at=0, refuse=(), cut=(), flip=(), stale=False):
        super().__init__(root)
        self._count = itertools.count(1)
        self.kill_at, self.refuse = kill_at, set(refuse)
        self.cut, self.flip = set(cut), set(flip)
        self._stale = super().list() if stale else None
        self.puts = []

    def _operate(self):
        number = next(self._count)
        if number == self.kill_at:
            raise Killed
        if number in self.refuse:
            raise StoreError("HTTP 503")

    def list(self, prefix=""):
        self._operate()
        if self._stale is not None:
            return [one for one in self._stale if one.key.startswith(prefix)]
        return super().list(prefix)

    def put_file(self, key, path, on_bytes):
        self._operate()
        self.puts.append(key)
        return super().put_file(key, path, on_bytes)

    def put_bytes(self, key, data):
        self._operate()
        self.puts.append(key)
        super().put_bytes(key, data)

    def get_bytes(self, key):
        self._operate()
        return super().get_bytes(key)

    def get_file(self, key, file, on_bytes):
        self._operate()
        data = FolderStore.get_bytes(self, key)
        if key in self.cut:
            self.cut.remove(key)
            data = data[:-1]
        elif key in self.flip:
            self.flip.remove(key)
            data = bytes([data[0] ^ 1]) + data[1:]
        on_bytes(len(data))
        file.write(data)


def make_run(folder: Path, *steps: int, size: int = 300, seed: int = 0) -> Path:
    """A folder that looks like a run's, with a checkpoint at each of these steps."""
    rng = np.random.Generator(np.random.PCG64(seed))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("lr: 0.1\n")
    (folder / "log.jsonl").write_text('{"event": "start", "step": 0}\n')
    store = CheckpointStore(folder / "checkpoints", keep_last=99)

    def write(place: Path) -> None:
        (place / "state.index").write_bytes(rng.bytes(size))
        (place / "state.data").write_bytes(rng.bytes(2 * size))

    for step in steps:
        store.save(step, write, {"position": {"step": step}})
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name, but for what only the store needs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "sync-manifest.json"
    }
