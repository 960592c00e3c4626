"""Imports TensorFlow without the lines that it prints before anybody can tell it not to.

TensorFlow 2.21 writes half a dozen lines about oneDNN and CUDA to stderr while it is imported,
whatever TF_CPP_MIN_LOG_LEVEL says. They bury what a command has to say. Should the import fail,
they are shown after all. In a container it would start as many threads as the machine has cores,
whatever share of them is granted.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from typing import IO

from exphil_tf.process.cores import granted_share

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Variables by which TensorFlow starts fewer threads than the machine has cores."""
_STDERR = 2
_SHOWN_BYTES = 1 << 20


def limit_threads(environ: MutableMapping[str, str]) -> None:
    """Makes TensorFlow, once imported, start as many threads as cores are granted.

    More would be stopped, all of them, whenever the share of a tenth of a second is used up.

    Args:
      environ: of the process; what it says already stays.
    """
    share = granted_share()
    if share is not None:
        for name in THREADS:
            environ.setdefault(name, str(share))


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Holds stderr back, down to the file descriptor, while the block imports."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    limit_threads(os.environ)
    _flush()
    saved = os.dup(_STDERR)
    with _held() as held:
        os.dup2(held.fileno(), _STDERR)
        text = open(_STDERR, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        try:
            with contextlib.redirect_stderr(text):
                yield
        except BaseException:
            with contextlib.suppress(OSError):
                text.flush()
                held.seek(0)
                os.write(saved, held.read(_SHOWN_BYTES))
            raise
        finally:
            # Not closed: loggers that were made meanwhile go on writing to it.
            with contextlib.suppress(OSError):
                text.flush()
            _flush()
            os.dup2(saved, _STDERR)
            os.close(saved)


def _held() -> IO[bytes]:
    """Where the lines wait; nowhere, if there is no room for them."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")  # noqa: PTH123


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
