"""How many cores a process may use: what it is held to, by set and by share."""

import os
import subprocess
import sys

import pytest

from exphil_tf.process.cores import granted_share, usable_cores

MANY = 64


@pytest.fixture(autouse=True)
def many_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, MANY),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, MANY),
        ({"sys/fs/cgroup/cpu.max": "800000 100000\n"}, 8),
        ({"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ({"sys/fs/cgroup/cpu.max": "5000 100000\n"}, 1),
        ({"sys/fs/cgroup/cpu.max": "0 0\n"}, MANY),
        ({"sys/fs/cgroup/cpu.max": "garbage"}, MANY),
        ({"sys/fs/cgroup/cpu.max": "99900000 100000\n"}, MANY),
        (
            {
                "proc/self/cgroup": "1:name=systemd:/x\n0::/pods/one\n",
                "sys/fs/cgroup/pods/cpu.max": "600000 100000\n",
                "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
            },
            6,
        ),
        ({"proc/self/cgroup": "0::/../elsewhere\n", "sys/fs/cgroup/cpu.max": "4000 1000"}, 4),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            MANY,
        ),
    ],
)
def test_what_control_groups_grant(tmp_path, files, cores):
    root = written(tmp_path, files)
    assert usable_cores(root) == cores
    assert granted_share(root) == (None if cores == MANY else cores)


@pytest.mark.skipif(sys.platform != "linux", reason="sets of cores are Linux's")
def test_a_process_held_to_one_core_uses_one():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from exphil_tf.process.cores import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
