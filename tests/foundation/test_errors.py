"""What the system said, whoever said it: one sentence with path and cause, and its code."""

import errno
import os

import pytest

from exphil_tf.foundation.errors import _explain


class ResourceExhaustedError(Exception):
    """Like TensorFlow's."""


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (errno.ENOSPC, 74),
        (errno.EDQUOT, 74),
        (errno.EIO, 74),
        (errno.EFBIG, 74),
        (errno.EROFS, 73),
        (errno.EACCES, 73),
        (errno.ENOENT, 66),
    ],
)
@pytest.mark.parametrize("how", ["ours", "tensorflow", "beam", "rust", "h5", "wrapped"])
def test_every_library_in_the_same_words(code, exit_code, how):
    text, path = os.strerror(code), "/runs/a b/step-1/state.data"
    error = {
        "ours": OSError(code, text, path),
        "tensorflow": ResourceExhaustedError(f"{path}; {text} [Op:SaveV2]"),
        "beam": RuntimeError(f"OSError: [Errno {code}] {text}: '{path}' [while running 'Write']"),
        "rust": ValueError(f'IoError(Os {{ code: {code}, kind: Other, message: "{text}" }})'),
        "h5": RuntimeError(f"can't write (file write failed: errno = {code})"),
        "wrapped": RuntimeError("odd"),
    }[how]
    if how == "wrapped":
        error.__cause__ = OSError(code, text, path)
    explained = _explain(error)
    assert explained is not None
    assert text in explained[0]
    assert explained[1] == exit_code
    if how in ("ours", "tensorflow", "wrapped"):
        assert path in explained[0]


def test_memory_of_a_gpu():
    explained = _explain(ResourceExhaustedError("OOM when allocating tensor with shape[8]"))
    assert explained is not None
    assert "--batch-size" in explained[0]


def test_a_name_that_is_no_text():
    with pytest.raises(UnicodeEncodeError) as caught:
        "a\udcff".encode()
    explained = _explain(caught.value)
    assert explained is not None
    assert "not valid UTF-8" in explained[0]


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("step 28 failed"), ValueError("")])
def test_a_defect_stays_one(error):
    assert _explain(error) is None
