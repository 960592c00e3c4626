"""Runs commands that train in forked children of a process that has imported TensorFlow once.

An import costs 8 s, a fork nothing; TensorFlow may be forked as long as it has run no operation.
Protocol: one JSON object a line on stdin (`module`, of `exphil_tf` unless it has a dot; `argv`,
`cwd`, `environ` besides the own one, `faults`), one on stdout (`status`: exit code, or minus the
signal; `output`; `seconds`).

Faults happen inside the child, at exact places:
  kill_at_update n     SIGKILL after the n-th update's weights have changed
  kill_at_fsync n      SIGKILL instead of the n-th fsync, that is, inside a save
  wait_at_update n     a second's pause after the n-th update, for what runs beside
  signal_at_update n   SIGTERM (`signals` of them, default one) after the n-th update
  full_at_fsync n      ENOSPC from the n-th fsync on
  file_bytes n         no file may grow beyond n bytes after the first update
  stdout full, gone    what is printed meets a full disk, or nobody
  nan_from, nan_to     updates nan_from <= n < nan_to see NaN weights on their frames
"""

import errno
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api  # noqa: F401 - a run imports it

from exphil_tf import train  # noqa: F401
from exphil_tf.foundation import errors
from exphil_tf.training import imitation, learner_run, mirrored  # noqa: F401

# What runs do with files, signals and faults is tested with them, not how fast their graphs are:
# rewriting graphs would take a quarter of a run.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def interrupt(signals):
    for _ in range(signals):
        os.kill(os.getpid(), signal.SIGTERM)
    while signals > 1:  # the watching thread ends the process
        time.sleep(0.01)


def spoil_output(kind):
    """What the command prints meets a full disk, or a reader that has gone."""
    if kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    elif kind == "gone":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)


def install(faults):
    plain_fsync = os.fsync
    counts = {"update": 0, "fsync": 0}

    for learner in (imitation.ImitationLearner, mirrored.MirroredLearner):
        learner.update = faulty(learner.update, faults, counts)

    def patched_fsync(descriptor):
        counts["fsync"] += 1
        if counts["fsync"] == faults.get("kill_at_fsync"):
            os.kill(os.getpid(), signal.SIGKILL)
        if counts["fsync"] >= faults.get("full_at_fsync", 1 << 60):
            raise OSError(errno.ENOSPC, "No space left on device")
        plain_fsync(descriptor)

    os.fsync = patched_fsync


def faulty(plain_update, faults, counts):
    def update(self, batches, *, step):
        n = counts["update"] = counts["update"] + 1
        if faults.get("nan_from", 0) <= n < faults.get("nan_to", 0):
            batches = ({**batch, "weight": batch["weight"] * float("nan")} for batch in batches)
        plain_update(self, batches, step=step)
        if n == faults.get("wait_at_update"):
            time.sleep(1)
        if n == faults.get("kill_at_update"):
            os.kill(os.getpid(), signal.SIGKILL)
        if n == faults.get("signal_at_update"):
            interrupt(faults.get("signals", 1))
        if n == 1 and "file_bytes" in faults:
            resource.setrlimit(resource.RLIMIT_FSIZE, (faults["file_bytes"],) * 2)

    return update


def child(request, output):
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.chdir(request["cwd"])
    os.environ.update(request.get("environ", {}))
    spoil_output(request.get("faults", {}).get("stdout"))
    install(request.get("faults", {}))
    try:
        name = request["module"]
        command = importlib.import_module(name if "." in name else f"exphil_tf.{name}")
        errors.run(command.main, request["argv"])
    except SystemExit as stop:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(stop.code or 0))


def main():
    gc.collect()
    gc.freeze()  # else each child would look through what was imported, and so copy it
    for line in sys.stdin:
        request = json.loads(line)
        begin = time.monotonic()
        with tempfile.TemporaryFile() as output:
            pid = os.fork()
            if pid == 0:
                child(request, output.fileno())
            _, status = os.waitpid(pid, 0)
            output.seek(0)
            text = output.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(status)
        reply = {"status": code, "output": text, "seconds": time.monotonic() - begin}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
