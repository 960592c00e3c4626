"""A file or folder has one holder at a time, and a dead one has none."""

import subprocess
import sys

import pytest

from exphil_tf.process.file_lock import locked

HOLD = """
import sys
from pathlib import Path
from exphil_tf.process.file_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_one_process_holds_a_file_or_folder_until_it_dies(kind, tmp_path, project_root):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        cwd=project_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), locked(path):
        pass
    process.kill()
    process.communicate()
    with locked(path), pytest.raises(BlockingIOError), locked(path):
        pass
    assert [one.name for one in tmp_path.iterdir()] == [kind]


def test_a_missing_folder_and_a_link_are_not_held(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none" / "lock"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), locked(tmp_path / "link"):
        pass
    assert not (tmp_path / "elsewhere").exists()
