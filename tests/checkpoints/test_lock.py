import json
import os
import subprocess
import sys
import time

import pytest

from exphil_tf.checkpoints import lock
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE

HOLD = """
import sys, time
from pathlib import Path
from exphil_tf.checkpoints import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(36000)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_process_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(UserError, match=f"process {holder.pid} on") as caught, lock.hold(tmp_path):
        pass
    assert caught.value.exit_code == EXIT_CANNOT_CREATE == 73


def test_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert json.loads((tmp_path / lock.OWNER).read_text())["pid"] == holder.pid
    with lock.hold(tmp_path):
        assert json.loads((tmp_path / lock.OWNER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / lock.OWNER).exists()


def test_other_host_counts_while_its_note_is_fresh(tmp_path):
    note = tmp_path / lock.OWNER
    note.write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "now"}))
    with pytest.raises(UserError, match="process 7 on elsewhere"), lock.hold(tmp_path):
        pass
    assert note.exists()
    old = time.time() - lock.FRESH_S - 10
    os.utime(note, (old, old))
    with lock.hold(tmp_path):
        pass
