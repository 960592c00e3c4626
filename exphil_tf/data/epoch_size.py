"""How long an epoch is, from the manifest alone: no shard is read, and no TensorFlow imported."""

from pathlib import Path
from typing import NamedTuple

from exphil_tf.data.grid import GameLength, count_game_unrolls, count_unrolls
from exphil_tf.data.input_config import InputConfig
from exphil_tf.records.game_lengths import game_lengths
from exphil_tf.records.manifest import MANIFEST, Manifest, load_manifest


class EpochSize(NamedTuple):
    """Length of one epoch."""

    unrolls: int
    labelled_frames: int
    """Frames with a loss weight, over all perspectives; the mean over delays if those are
    random."""
    steps: int
    """Batches, the last one counted in full. A pass that carries memory, and neither trains nor
    waits for games to come, has some more at its end, as rows run out of games one by one."""


def epoch_size(
    data: Manifest | Path | str,
    config: InputConfig,
    *,
    folder: Path | str | None = None,
    split: str,
    batch_size: int,
    seed: int,
    training: bool,
    epoch: int = 0,
) -> EpochSize:
    """Exact length of an epoch; arguments as for `data.input.build`.

    Epochs differ by at most one unroll per game and player, as the grid of unrolls moves from epoch
    to epoch.

    Raises: UserError: if the dataset has no such games, or its chunks are too short for the config.
    """
    if not isinstance(data, Manifest):
        folder = Path(data).parent if Path(data).name == MANIFEST else Path(data)
    manifest = data if isinstance(data, Manifest) else load_manifest(data)
    chunk, overlap = manifest.chunk_frames, manifest.overlap_frames
    grid = config.grid(chunk=chunk, overlap=overlap, training=training)
    found = game_lengths(manifest, split, folder=None if folder is None else Path(folder))
    lengths = (GameLength(*length, games) for length, games in found.items())
    phase = grid.phase(epoch, seed) if training else 0
    if config.carry_state:
        unrolls, frames = count_game_unrolls(grid, lengths)
    else:
        unrolls, frames = count_unrolls(grid, lengths, phase)
    return EpochSize(unrolls, frames, -(-unrolls // batch_size))
