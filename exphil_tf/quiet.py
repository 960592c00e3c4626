"""Imports TensorFlow without the lines that it prints before anybody can tell it not to.

TensorFlow 2.21 writes half a dozen lines about oneDNN and CUDA to stderr while it is imported,
whatever TF_CPP_MIN_LOG_LEVEL says. They bury what a command has to say. Should the import fail,
they are shown after all.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Holds stderr back, down to the file descriptor, while the block imports."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
