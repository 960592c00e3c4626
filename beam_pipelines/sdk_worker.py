"""Beam's worker process for `--direct_running_mode=multi_processing`, which ends with the job.

Beam's own stays for ever if the job is killed before the worker has called it. Beam also leaves the
interpreter's path unquoted in a shell's command, which breaks in a folder with a space in its name.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

from exphil_tf.process.parent import end_with_parent

_BEAMS_OWN = "sdk_worker_main"


@contextlib.contextmanager
def ending_with_the_job() -> Iterator[None]:
    """Within, FnApiRunner starts this module as its workers; Beam has no option for it."""
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    environment: Any = SubprocessSDKEnvironment  # Beam's decorators hide the class's type
    plain = environment.from_command_string

    def replaced(command_string: str) -> Any:
        if command_string.endswith(_BEAMS_OWN):
            # exec: the worker, not a shell, is the job's child.
            command_string = f"exec {shlex.quote(sys.executable)} -m {__name__} {os.getpid()}"
        return plain(command_string)

    with mock.patch.object(environment, "from_command_string", replaced):
        yield


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv[:1])
