"""What speaks to Weights & Biases: a process of its own, started by `wandb_sink` as a script.

The library takes over signals, output and the end of the process that it is imported into, and
waits for its server. Here it can only hold up itself. From standard input come JSON lines: what
`wandb.init` is called with, then `step` and `row` of each event; the last line on stderr says what
went wrong. When the input ends, by the run's end or its death, there are `finish_s` seconds left.

It imports nothing of ours: it starts in the time that Python takes.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any

_QUEUED = 1000
"""Events that wait for a slow server; further ones are dropped."""


def main() -> int:
    """Writes what comes; returns the exit code."""
    options = json.loads(sys.stdin.readline())
    rows: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=_QUEUED)
    finish_s = options.pop("finish_s")
    threading.Thread(target=_read, args=(rows, finish_s), daemon=True).start()
    try:
        _write(options, rows)
    except ImportError:
        return _fail("it is not installed: it is the extra `wandb`")
    except Exception as error:  # whatever it is, the run hears of it
        return _fail((str(error).splitlines() or [type(error).__name__])[0])
    return 0


def _write(options: dict[str, Any], rows: queue.Queue[dict[str, Any] | None]) -> None:
    import wandb  # an optional extra  # type: ignore[import-not-found]

    run = wandb.init(**options)
    while (row := rows.get()) is not None:
        run.log(row["row"], step=row["step"])
    run.finish()


def _read(rows: queue.Queue[dict[str, Any] | None], finish_s: float) -> None:
    """Queues what comes, whether or not it can be sent; leaves once time is up behind the end."""
    end = threading.Timer(finish_s, os._exit, (1,))
    end.daemon = True
    for line in sys.stdin:
        if not rows.full():
            rows.put_nowait(json.loads(line))
    end.start()
    rows.put(None)


def _fail(text: str) -> int:
    sys.stderr.write(f"\n{text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
