"""What a learner is to the loop that runs it, and what training data is.

The *learner* owns how something is learnt: one update, its variables, what it measures. The loop
(`training.loop`) owns when: updates, validation, checkpoints, interruptions, going back after NaN.
Neither knows what is learnt, so the same loop runs behaviour cloning (`training.imitation`), and a
regression of two numbers in the tests.

Learning by playing fits as it stands:

* its batches are rollouts: the iterator of its `TrainingData` plays until the next one is full.
  What must survive a kill there (environments, a pool of opponents, a generator's state) is the
  iterator's, which is a TensorFlow trackable, such as a `tf.train.experimental.PythonState`, and is
  checkpointed with the variables; it is not rolled back;
* one `update` may go over its rollout several times; what changes with the run's position (an
  annealed bonus, a new opponent) goes by its `step`;
* a run is as long as `Horizon.of_frames` says, there is no validation, and the metric that selects
  the best policy, such as the return, is a mean over the training between two epochs' ends.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

import tensorflow as tf

from exphil_tf.data.epoch_size import EpochSize
from exphil_tf.training.metric import Metric, Values

Batch = TypeVar("Batch")
Batch_contra = TypeVar("Batch_contra", contravariant=True)
Batch_co = TypeVar("Batch_co", covariant=True)


class Report(NamedTuple):
    """What the updates since the report before brought."""

    frames: float
    """Frames learnt from, by which means are weighted."""
    values: Values
    """Means over these frames; empty if no update counted."""
    skipped: int
    """Updates left out since the run's start, because something was NaN or infinite."""
    worst_streak: int
    """Most updates left out in a row since the report before."""


class LearnerVariables(NamedTuple):
    """Every variable that a resumed run needs, by a name that is stable between runs."""

    weights: Mapping[str, tf.Variable]
    """What is learnt and exported: their digest is the run's result."""
    training: Mapping[str, tf.Variable]
    """What is learnt besides, for training alone: optimizer state, averages, further heads."""
    counters: Mapping[str, tf.Variable]
    """Sums of what is measured. The rest goes back to a checkpoint after a streak of NaN, these
    don't."""
    carried: Mapping[str, tf.Variable] = MappingProxyType({})
    """Memory of the batch before. It belongs to the place in the data, and does not go back."""

    def learnt(self) -> dict[str, tf.Variable]:
        """What goes back to a checkpoint."""
        return {**self.weights, **self.training}

    def all(self) -> dict[str, tf.Variable]:
        """Every one of them."""
        return {**self.learnt(), **self.counters, **self.carried}


class Learner(Protocol[Batch_contra]):
    """Learns by updates; see the module's text."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """What `Report.values` and `validate` may hold, one of it selecting; fixed."""
        ...

    def variables(self) -> LearnerVariables:
        """The same variables at each call, with their state."""
        ...

    def update(self, batches: Iterator[Batch_contra], *, step: int) -> None:
        """Makes one update, or leaves it out, as NaN would stay.

        It should not wait for the device: `take_report` does, once in a while.

        Args:
          batches: endless; as many as an update needs are taken.
          step: updates before this one. What happens at a place of the run goes by it, so that a
            resumed run does the same.
        """
        ...

    def take_report(self) -> Report:
        """What was measured since the last call, which is forgotten."""
        ...

    def validate(self, batches: Iterable[Batch_contra]) -> Values:
        """Means over a pass, or over the part of it that the loop gave; empty if nothing counted.

        Called only in runs that have data to validate on. Must not change what `variables` holds.
        """
        ...

    def reset(self) -> None:
        """Drops what `take_report` would tell, after variables went back to a checkpoint."""
        ...


class TrainingData(Protocol[Batch_co]):
    """Where batches come from."""

    def batches(self) -> Iterable[Batch_co]:
        """Batches without end to train on, or one pass at each iteration to validate on."""
        ...

    def named_errors(self) -> AbstractContextManager[None]:
        """Turns errors of reading in its body into `UserError`s that name the file."""
        ...


class EpochData(TrainingData[Batch_co], Protocol[Batch_co]):
    """Data of which a pass has a length."""

    def epoch_size(self) -> EpochSize:
        """Length of one pass."""
        ...
