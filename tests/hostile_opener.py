"""Opens folders in a process of its own, with little memory: what a hostile one may take.

Run as `python hostile_opener.py bundle|policy`: reads folders from stdin and answers each
with a line: `played`, `refused CODE`, or the error that should not have been.
"""

import resource
import sys
from collections.abc import Callable
from pathlib import Path

from exphil_tf.foundation.errors import UserError

MOST_BYTES = 1 << 30
"""More of the process's memory than it held once its libraries were loaded."""


def play(folder: Path) -> None:
    """Opens an export and plays two frames."""
    from exphil_tf.features.schema import SCHEMA
    from exphil_tf.inference.bundle import open_bundle
    from exphil_tf.inference.stepper import Stepper

    bundle = open_bundle(folder)
    stepper = Stepper(bundle, batch_size=bundle.config.batch_size or 1)
    for _ in range(2):
        stepper.step(SCHEMA.empty(stepper.batch_size))


def load(folder: Path) -> None:
    """Rebuilds a policy."""
    from exphil_tf.checkpoints.policy_bundle import load_policy

    load_policy(folder)


def answer_to(run: Callable[[Path], None], folder: Path) -> str:
    """`played`, `refused CODE IS_PRINTABLE`, or the error that should not have been."""
    try:
        run(folder)
    except UserError as error:
        return f"refused {error.exit_code} {str(error).isprintable()}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    return "played"


def main() -> None:
    """Answers line by line; the first folder is sound and loads the libraries."""
    run = {"bundle": play, "policy": load}[sys.argv[1]]
    for number, line in enumerate(sys.stdin):
        answer = answer_to(run, Path(line.rstrip("\n")))
        if number == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            held = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES,) * 2)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
