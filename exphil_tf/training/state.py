"""Everything that a resumed run needs to go on bit for bit: saved, restored, hashed.

Variables (policy, dropout seeds, optimizer, averages, sums), the position in the data, and a few
plain numbers of the loop. Keras variables go in as raw `tf.Variable`s: its own saving knows nothing
of seed generators or iterators.

A position in the data includes the decoded records that are in flight, some hundred MB of them.
They compress tenfold, so files are stored compressed.
"""

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import zstandard

from exphil_tf.checkpoints.store import NonFiniteError, require_finite
from exphil_tf.foundation.atomic import TEMPORARY
from exphil_tf.training.early_stopping import Progress
from exphil_tf.training.learner import LearnerVariables

_PREFIX = "state"
_SUFFIX = ".zst"
_EXPANSION = 200
"""A file may unpack to so many times its size; ten times is usual."""
_ALLOWANCE = 1 << 30
"""Bytes that any file may unpack to."""


@dataclass(frozen=True)
class Position:
    """Where the loop stands; plain numbers, so that JSON holds it exactly."""

    step: int = 0
    """Updates done, those left out for NaN included."""
    validated_step: int = 0
    """Step of the latest validation; an epoch's end beyond it is still to be validated."""
    progress: Progress = field(default_factory=Progress)
    """Validation results so far."""
    frames: float = 0.0
    """Frames learnt from, as weights."""
    epoch_frames: float = 0.0
    """The same since the last epoch's end."""
    epoch_sum: float = 0.0
    """Sum of the selecting metric over `epoch_frames`."""
    rollbacks: int = 0
    """Times that NaN made the run go back to a checkpoint."""

    @property
    def epoch_mean(self) -> float | None:
        """Mean of the selecting metric since the last epoch's end; None before the first frame."""
        return self.epoch_sum / self.epoch_frames if self.epoch_frames else None

    def after(self, frames: float, selected: float | None) -> "Position":
        """The position after training on more frames.

        Args:
          frames: as weights.
          selected: mean of the selecting metric over them; None if it wasn't measured.
        """
        counted = 0.0 if selected is None else frames
        return dataclasses.replace(
            self,
            frames=self.frames + frames,
            epoch_frames=self.epoch_frames + counted,
            epoch_sum=self.epoch_sum + (selected or 0.0) * counted,
        )

    def after_epoch(self, progress: Progress) -> "Position":
        """The position once this step's epoch was brought to its end."""
        return dataclasses.replace(
            self, progress=progress, validated_step=self.step, epoch_frames=0.0, epoch_sum=0.0
        )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Position":
        """The inverse of `to_dict`.

        Raises: TypeError, ValueError: if the values are of another version or make no sense.
        """
        values = {_RENAMED.get(name, name): value for name, value in values.items()}
        position = cls(**{**values, "progress": Progress(**values["progress"])})
        for name, value in {**values, **dataclasses.asdict(position.progress)}.items():
            if name != "progress" and not _is_count(name, value):
                raise ValueError(
                    f"position.{name}: want a finite number, and no step < 0. "
                    f"Received: {value!r:.40}"
                )
        return position


_RENAMED = {"epoch_nll": "epoch_sum"}
"""Names in checkpoints of earlier releases."""
_FRACTIONS = ("frames", "epoch_frames", "epoch_sum", "best", "reference")


def _is_count(name: str, value: Any) -> bool:
    """Whether a value of a position could have been written there."""
    if value is None:
        return name in ("best", "best_step", "reference")
    if type(value) is float:
        return name in _FRACTIONS and math.isfinite(value)
    return type(value) is int and value >= 0


class TrainState:
    """The variables and the data position of one run.

    Args:
      variables: of the learner.
      iterator: of the training data, a TensorFlow trackable; None where data restarts.
      allowance: bytes that each file of a checkpoint may unpack to, however small it is.
    """

    def __init__(
        self, variables: LearnerVariables, iterator: Any = None, *, allowance: int = _ALLOWANCE
    ):
        self._allowance = allowance
        self.variables = variables.all()
        self._weights, self._learnt = variables.weights, variables.learnt()
        self._weights_and_training = tf.train.Checkpoint(variables=self._learnt)
        self._everything = tf.train.Checkpoint(
            variables=self.variables, **({} if iterator is None else {"iterator": iterator})
        )

    def write(self, folder: Path) -> None:
        """Writes the state's files.

        Raises: NonFiniteError: if any variable holds NaN or infinity; nothing is written.
        """
        require_finite((name, v.numpy()) for name, v in self.variables.items())
        self._everything.write(str(folder / _PREFIX))
        for path in sorted(folder.glob(f"{_PREFIX}.*")):
            _compress(path)

    def read(self, folder: Path, *, with_data: bool = True) -> None:
        """Restores what `write` wrote.

        Args:
          folder: a verified checkpoint.
          with_data: restore everything; otherwise only what was learnt, not where in the data.

        Raises: ValueError: if it was written by another model, optimizer or kind of data.
        """
        checkpoint = self._everything if with_data else self._weights_and_training
        try:
            with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder.parent) as temporary:
                prefix = unpack(folder, Path(temporary), allowance=self._allowance)
                status = checkpoint.read(prefix)
                status.assert_existing_objects_matched().expect_partial()
            # Nothing that `write` wrote is NaN, so what is there now may be trusted to be a state.
            restored = self.variables if with_data else self._learnt
            require_finite((name, v.numpy()) for name, v in restored.items())
        except NonFiniteError as error:
            raise ValueError(f"{folder}: {error}") from error
        except OSError:
            raise
        except Exception as error:  # TensorFlow's reader meets damage with errors of any kind
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{folder}: was written by another configuration: {reason}") from error

    def sha256(self) -> str:
        """Hex digest of all variables, in order of name."""
        return _sha256(self.variables)

    def weights_sha256(self) -> str:
        """Hex digest of what is learnt and exported, in order of name."""
        return _sha256(self._weights)


def unpack(folder: Path, into: Path, *, allowance: int = _ALLOWANCE) -> str:
    """Unpacks a checkpoint's state into another folder; the prefix by which TensorFlow reads it.

    Raises: ValueError: if it unpacks to more than a state.
    """
    for path in folder.glob(f"{_PREFIX}.*{_SUFFIX}"):
        _decompress(path, into / path.name.removesuffix(_SUFFIX), allowance=allowance)
    return str(into / _PREFIX)


def _sha256(variables: Mapping[str, tf.Variable]) -> str:
    digest = hashlib.sha256()
    for name, variable in sorted(variables.items()):
        array = np.ascontiguousarray(variable.numpy())
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _compress(path: Path) -> None:
    """Replaces a file by its compressed form, `.zst`."""
    packed = path.with_name(path.name + _SUFFIX)
    with path.open("rb") as source, packed.open("wb") as file:
        zstandard.ZstdCompressor(level=1, write_checksum=True).copy_stream(source, file)
    path.unlink()


def _decompress(path: Path, unpacked: Path, *, allowance: int) -> None:
    """Raises ValueError rather than fill the disk with what no state unpacks to."""
    left = max(allowance, _EXPANSION * path.stat().st_size)
    with path.open("rb") as source, unpacked.open("wb") as file:
        for block in zstandard.ZstdDecompressor().read_to_iter(source):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{path.name}: unpacks to more than a state")
            file.write(block)
