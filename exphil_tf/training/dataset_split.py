"""A split of a dataset as training data: `training.learner.EpochData` of packed unrolls."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from exphil_tf.data import input as data_input
from exphil_tf.data.epoch_size import EpochSize, epoch_size
from exphil_tf.data.input_config import InputConfig
from exphil_tf.records.manifest import Manifest


@dataclass(frozen=True)
class DatasetSplit:
    """One split, read as `exphil_tf.data.input` reads it."""

    manifest: Manifest
    folder: Path
    """Of the dataset."""
    input: InputConfig
    split: str
    batch_size: int
    """Unrolls per batch."""
    seed: int
    """Decides order, delays and augmentation."""
    is_training: bool
    """Whether batches come without end, shuffled and augmented, or once and as they are."""

    def batches(self) -> tf.data.Dataset:
        """See `data.input.build`."""
        # The input graph has no Python control flow: converting it would only cost seconds.
        return tf.autograph.experimental.do_not_convert(data_input.build)(
            self.manifest,
            self.input,
            folder=self.folder,
            split=self.split,
            batch_size=self.batch_size,
            seed=self.seed,
            training=self.is_training,
        )

    def epoch_size(self, epoch: int = 0) -> EpochSize:
        """Exact length of one pass; see `data.epoch_size`."""
        return epoch_size(
            self.manifest,
            self.input,
            folder=self.folder,
            split=self.split,
            batch_size=self.batch_size,
            seed=self.seed,
            training=self.is_training,
            epoch=epoch,
        )

    def named_errors(self) -> AbstractContextManager[None]:
        """Errors about damaged shards name the shard, as `UserError`s."""
        return data_input.named_shard_errors(self.manifest, folder=self.folder, split=self.split)
