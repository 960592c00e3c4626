"""The dataset that a command trains on: one that was made before, or one made of replays now.

A dataset of replays lies in a folder named by the content of the replays and of the options that
decide it, so that the same ones are preprocessed once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from exphil_tf.data.input_config import VariantConfig
from exphil_tf.foundation.errors import UserError
from exphil_tf.preprocessing import rejects
from exphil_tf.preprocessing.dataset_config import (
    DatasetConfig,
    RecordConfig,
    content_config,
    keyed,
)
from exphil_tf.preprocessing.reject_config import RejectConfig
from exphil_tf.preprocessing.summary import summary
from exphil_tf.process.exit_codes import EXIT_DATA
from exphil_tf.records.manifest import MANIFEST, REJECTED
from exphil_tf.replays import tar_copies
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.players import PUBLIC_KEY, PUBLIC_KEY_NOTE
from exphil_tf.replays.sources import Source, is_plain
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.training.dataset import Dataset, open_for_training

if TYPE_CHECKING:
    from exphil_tf.data.input_config import InputConfig
    from exphil_tf.training.train_config import DataConfig

_FRAME_BYTES = 350
"""Of a replay, per frame: the mean over 337 games of many versions."""


@dataclasses.dataclass(frozen=True)
class Unprocessed:
    """Replays that a dry run leaves as they are."""

    frames: int
    """About how many frames, over both players, would be learnt from in an epoch; 0 if their size
    does not tell."""


@dataclasses.dataclass(frozen=True)
class DatasetRequest:
    """What a command wants to train on."""

    data: DataConfig
    input: InputConfig
    """How it will be read."""
    filters: FilterConfig
    splits: SplitConfig
    variants: VariantConfig = VariantConfig()

    def preprocessing(self, *, output: str) -> DatasetConfig:
        """What preprocessing is asked for: variants that are read, overlaps long enough."""
        plain, asked = RecordConfig(), self.input
        reach = asked.window_size + asked.delays(training=True)[1] + 1
        overlap = max(plain.overlap_frames, reach)
        records = RecordConfig(
            variants=("original",),
            chunk_frames=max(plain.chunk_frames, 2 * overlap),
            overlap_frames=overlap,
        )
        if asked.augment and asked.augment_from == "variants":
            records = dataclasses.replace(
                records,
                variants=("original", "mirrored"),
                num_noisy_variants=self.variants.num_noisy_variants if asked.noise_prob else 0,
                noise_scale=asked.noise_scale,
            )
        return DatasetConfig(
            replays=self.data.replays,
            output=output,
            max_files=self.data.max_files,
            filters=self.filters,
            splits=self.splits,
            records=records,
        )

    def open(
        self, console: Console, *, environ: Mapping[str, str], dry_run: bool
    ) -> Dataset | Unprocessed:
        """The dataset, made of the replays first, if those were given.

        Args:
          console: is told what is done.
          environ: holds the key of pseudonyms.
          dry_run: make nothing.

        Returns: what is known of the replays if a dry run would have to preprocess first.

        Raises: UserError: if there is no such dataset, or none can be made.
        """
        if self.data.data is not None:
            dataset = self._open(Path(self.data.data), console)
            if self.data.rejects != RejectConfig():  # for nothing, no list of rejects is read
                rejects.report(dataset.folder, self.data.rejects, console, is_new=False)
            return dataset
        try:
            return self._preprocess(console, environ=environ, dry_run=dry_run)
        finally:
            tar_copies.release()  # their room on the disk is wanted while training goes on

    def _open(self, folder: Path, console: Console) -> Dataset:
        return open_for_training(folder, self.input, console, mode=self.data.verify_data)

    def _preprocess(
        self, console: Console, *, environ: Mapping[str, str], dry_run: bool
    ) -> Dataset | Unprocessed:
        from beam_pipelines import build_dataset as job  # Beam takes 2 s to import

        wanted = keyed(self.preprocessing(output="unnamed"), environ)
        found = job.find_replays(wanted.replays)
        key = {"options": content_config(wanted), "input": job.content_hash(found)}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        folder = Path(self.data.datasets_dir) / f"replays-{digest}"
        if (folder / MANIFEST).is_file():
            console.print(f"dataset: {folder} (made of these replays and options before)")
            rejects.report(folder, self.data.rejects, console, is_new=False)
            return self._open(folder, console)
        if dry_run:
            console.print(
                f"dry run: {len(found.sources)} replays would first be preprocessed into {folder}; "
                "until then frames and updates are guessed from the size of the files",
            )
            return Unprocessed(self._training_frames(found.sources))
        if wanted.records.pseudonym_key == PUBLIC_KEY:
            console.print(f"note: {PUBLIC_KEY_NOTE}", markup=False)
        console.print(f"preprocessing {len(found.sources)} replays into {folder}")
        manifest = job.build_dataset(dataclasses.replace(wanted, output=str(folder)), found=found)
        console.print(summary(manifest))
        rejects.report(folder, self.data.rejects, console)
        if not manifest.frames("train"):
            raise UserError(
                f"--replays: none of {manifest.totals.files} files became a game to train on",
                f"See the reasons in {folder / REJECTED}, or relax the filters.",
                exit_code=EXIT_DATA,
            )
        return Dataset(folder, manifest)

    def _training_frames(self, replays: Sequence[Source]) -> int:
        """See `Unprocessed.frames`."""
        if not replays or not all(map(is_plain, replays)):
            return 0
        try:
            frames = sum(Path(one.path).stat().st_size for one in replays) // _FRAME_BYTES
        except OSError:  # on a store, or gone
            return 0
        games = min(self.data.max_files or len(replays), len(replays))
        share = 1 - self.splits.val_split - self.splits.test_split
        return round(2 * frames * share * games / len(replays))
