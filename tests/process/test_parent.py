"""A child that asked for it ends with its parent, even if the parent is killed."""

import os
import subprocess
import sys

CHILD = """
import sys, time
from exphil_tf.process.parent import end_with_parent
end_with_parent({parent})
print("alive", flush=True)
while True: time.sleep(3600)
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1].format(parent=os.getpid())])
time.sleep(3600)
"""


def test_it_ends_when_the_parent_is_killed(project_root):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], cwd=project_root, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"alive\n"
    parent.kill()
    assert parent.stdout.read() == b"", "the pipe ends once the child has ended too"
    parent.wait()
    parent.stdout.close()


def test_it_ends_if_the_parent_had_ended_before(project_root):
    gone = os.getppid()
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(parent=gone)],
        cwd=project_root,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
