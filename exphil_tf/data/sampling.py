"""Which records come when: shards, variants and records in a seeded order, still compressed."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from exphil_tf.data.grid import Grid
from exphil_tf.data.input_config import InputConfig
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import character_from_name
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT
from exphil_tf.records import headers
from exphil_tf.records.example import decode_header, decode_planes
from exphil_tf.records.game_lengths import check_split
from exphil_tf.records.headers import Bounds
from exphil_tf.records.manifest import MANIFEST, Manifest, load_manifest
from exphil_tf.records.shards import CorruptShard, read_records

RECORD_FEATURES = {
    "n": tf.io.FixedLenFeature([], tf.int64),
    "start": tf.io.FixedLenFeature([], tf.int64),
    "perspectives": tf.io.FixedLenFeature([], tf.int64),
    "player_ids": tf.io.FixedLenFeature([2], tf.int64),
    "characters": tf.io.FixedLenFeature([2], tf.int64),
    "winner": tf.io.FixedLenFeature([], tf.int64),
}
"""What a record holds beside its rows (`exphil_tf.records.example`)."""


class Source(NamedTuple):
    """One split of a dataset: what the input graph needs of the manifest."""

    shards: Mapping[str, Sequence[str]]
    """Variant → paths; each variant holds the same records in the same order."""
    chunk: int
    """Rows that a record owns."""
    overlap: int
    """Rows behind those that it repeats."""
    characters: Mapping[int, int] = {}
    """Internal character id → frames played by it."""


def describe(
    data: Manifest | Path | str, split: str, *, folder: Path | str | None = None
) -> Source:
    """The shards of a split.

    Args:
      data: the dataset's folder, or its manifest (then `folder` says where it lies).
      split: train, validation or test.
      folder: of the shards.

    Raises:
      UserError: if the dataset has no such split, or a shard is missing.
    """
    if not isinstance(data, Manifest):
        folder = Path(data).parent if Path(data).name == MANIFEST else Path(data)
    elif folder is None:
        raise ValueError(
            "input.folder: want the folder of the shards beside a manifest. Received: None"
        )
    manifest = data if isinstance(data, Manifest) else load_manifest(data)
    check_split(manifest, split, folder=folder)
    variants = manifest.splits[split]
    shards = {
        name: [str(Path(folder) / entry.path) for entry in entries]
        for name, entries in variants.items()
    }
    missing = [path for paths in shards.values() for path in paths if not Path(path).is_file()]
    if missing:
        raise UserError(
            f"{missing[0]}: missing, with {len(missing) - 1} others of its dataset.",
            "Copy the dataset again or preprocess with --overwrite.",
            exit_code=EXIT_NO_INPUT,
        )
    counts = manifest.stats[split].characters if split in manifest.stats else {}
    return Source(shards, manifest.chunk_frames, manifest.overlap_frames, _by_id(counts))


def _by_id(counts: Mapping[str, int]) -> dict[int, int]:
    """Counts by internal character id; names that are no character's are left out."""
    found: dict[int, int] = {}
    for name, count in counts.items():
        with suppress(ValueError):
            found[int(character_from_name(name))] = count
    return found


def check_variants(config: InputConfig, source: Source) -> None:
    """Refuses `augment_from = variants` on a dataset that lacks a variant asked for.

    Raises:
      UserError: tells which flag of preprocessing writes them.
    """
    if not config.augment or config.augment_from != "variants":
        return
    has_noisy = any(name.startswith("noisy") for name in source.shards)
    for missing, flag, way in (
        (config.noise_prob > 0 and not has_noisy, "noise_prob", "--num-noisy-variants 2"),
        (
            config.mirror_prob > 0 and "mirrored" not in source.shards,
            "mirror_prob",
            "--variants original mirrored",
        ),
    ):
        if missing:
            raise UserError(
                f"augment_from: {flag} is not 0, but this dataset has no such variant.",
                f"Preprocess with {way}, set --{flag.replace('_', '-')} 0, or use "
                "--augment-from live.",
            )


READ_ERRORS = (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError)
"""What a damaged or vanished shard looks like in the graph."""


def find_damage(source: Source) -> UserError | None:
    """An error that names the first damaged or missing shard of a split; None if all are sound."""
    bounds = headers.bounds(chunk=source.chunk, overlap=source.overlap)
    for path in (Path(path) for paths in source.shards.values() for path in paths):
        problem = _damage(path, bounds)
        if problem:
            folder = shlex.quote(str(path.parent))
            return UserError(
                problem,
                f"Run `python -m exphil_tf.verify {folder}` to see what else is damaged, then "
                "copy the dataset again or preprocess with --overwrite.",
                exit_code=EXIT_DATA,
            )
    return None


def _damage(path: Path, bounds: Bounds) -> str:
    """What is wrong with a shard; empty if nothing is."""
    try:
        for number, record in enumerate(read_records(path)):
            header = decode_header(record)
            decode_planes(header.blob)
            problem = bounds.problem(header)
            if problem:
                return f"{path}: record {number}: {problem}."
    except FileNotFoundError:
        return f"{path}: vanished while it was read."
    except ValueError as error:
        return (
            f"{path.parent / str(error)}."
            if isinstance(error, CorruptShard)
            else f"{path}: {error}."
        )
    return ""


def seed_pair(seed: int, stream: int, counter: tf.Tensor | int) -> tf.Tensor:
    """int64 `[2]`: seed of one draw.

    Args:
      seed: of the run.
      stream: kind of draw, see below.
      counter: number of the epoch, window of records, block or batch.
    """
    return tf.stack([tf.constant(seed * 16 + stream, tf.int64), tf.cast(counter, tf.int64)])


def shuffle(values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """`values` with the first axis in another order; unlike `Dataset.shuffle`, of `seed` only."""
    return tf.random.experimental.stateless_shuffle(values, seed)  # pyright: ignore


FILES, RECORDS, VARIANTS, UNROLLS, MIRROR, NOISE, NOISE_VALUES, DELAY, TOLD, STAGGER = range(10)
"""Kinds of draws."""


def delays(grid: Grid, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """int64 `[count]`, uniform between the grid's least and greatest delay."""
    low, high = grid.delay_min, grid.delay_max
    if low == high:
        return tf.fill([count], tf.constant(low, tf.int64))
    return tf.random.stateless_uniform(count[None], seed, low, high + 1, tf.int64)


def character_weights(counts: Mapping[int, int]) -> np.ndarray:
    """float32 `[256]`: loss weight by internal character id.

    Inverse frequency, clipped to 0.1 … 10, then scaled to a mean of 1 per frame.

    Args:
      counts: character id → frames; characters that never occur weigh 1.
    """
    weights = np.ones(256, np.float64)
    ids = [character for character, count in counts.items() if count > 0]
    if ids:
        share = np.array([counts[character] for character in ids], np.float64)
        share /= share.sum()
        raw = np.clip(1 / (share * len(ids)), 0.1, 10)
        weights[ids] = raw / (raw * share).sum()
    return weights.astype(np.float32)


def choose_variant(names: Sequence[str], draws: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """int64 `[]`: index into `names`.

    A noisy variant with `noise_prob`, else the mirrored one with `mirror_prob`, else the original.

    Args:
      names: variants, `original` among them; probabilities of absent ones fall to the original.
      draws: float32 `[2]`, uniform in [0, 1).
      config: the probabilities.
    """
    noisy = [index for index, name in enumerate(names) if name.startswith("noisy")]
    noise_prob = config.noise_prob if noisy else 0.0
    choice = tf.constant(names.index("original"), tf.int64)
    if "mirrored" in names:
        is_mirrored = draws[0] < noise_prob + config.mirror_prob * (1 - noise_prob)
        choice = tf.where(is_mirrored, tf.constant(names.index("mirrored"), tf.int64), choice)
    if noisy:
        which = tf.gather(tf.constant(noisy, tf.int64), tf.cast(draws[1] * len(noisy), tf.int32))
        choice = tf.where(draws[0] < noise_prob, which, choice)
    return choice


def choose_variants(names: Sequence[str], draws: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """int64 `[choices]`: `choose_variant` for each of draws float32 `[choices, 2]`."""
    chosen = tf.map_fn(
        lambda pair: choose_variant(names, pair, config), draws, fn_output_signature=tf.int64
    )
    return cast(tf.Tensor, chosen)


def _read(paths: tf.Tensor, *, num_variants: int, cycle: int) -> tf.data.Dataset:
    """Records of the shards `[shards, variants]`: each element string `[variants]`."""

    def one(row: tf.Tensor) -> tf.data.Dataset:
        files = tuple(
            tf.data.TFRecordDataset(row[k], buffer_size=1 << 20) for k in range(num_variants)
        )
        return tf.data.Dataset.zip(files).map(lambda *records: tf.stack(records))

    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        one, cycle_length=cycle, block_length=1
    )


def _training_epoch(
    config: InputConfig, source: Source, *, seed: int, epoch: tf.Tensor
) -> tf.data.Dataset:
    """Serialised records of one epoch, string `[≤ block_records]` per block.

    Shards come in another order each epoch. Records are shuffled by windows of `shuffle_records`,
    drawn from `shuffle_files` files at a time.
    """
    use_variants = config.augment and config.augment_from == "variants"
    names = list(source.shards) if use_variants else ["original"]
    paths = tf.constant(np.array([source.shards[name] for name in names], object).T.astype(str))
    paths = shuffle(paths, seed_pair(seed, FILES, epoch))
    window = -(-config.shuffle_records // config.block_records) * config.block_records

    def mix(index: tf.Tensor, records: tf.Tensor) -> tf.data.Dataset:
        counter = epoch * 2**32 + index
        if use_variants:
            shape = tf.stack([tf.shape(records)[0], 2])
            draws = tf.random.stateless_uniform(shape, seed_pair(seed, VARIANTS, counter))
            records = tf.gather(records, choose_variants(names, draws, config), batch_dims=1)
        else:
            records = records[:, 0]
        records = shuffle(records, seed_pair(seed, RECORDS, counter))
        return tf.data.Dataset.from_tensor_slices(records).batch(config.block_records)

    read = _read(paths, num_variants=len(names), cycle=config.shuffle_files)
    return read.batch(window).enumerate().flat_map(mix)  # pyright: ignore


def training_records(config: InputConfig, source: Source, *, seed: int) -> tf.data.Dataset:
    """Blocks of all epochs: (epoch int64 `[]`, serialised records string `[≤ block_records]`)."""
    return tf.data.Dataset.counter().flat_map(
        lambda epoch: _training_epoch(config, source, seed=seed, epoch=epoch).map(
            lambda records: (epoch, records)
        )
    )


def evaluation_records(config: InputConfig, source: Source) -> tf.data.Dataset:
    """Blocks as `training_records`, once, in the order of the shards; then an empty block."""
    files = tf.data.Dataset.from_tensor_slices(list(source.shards["original"]))
    blocks = files.flat_map(tf.data.TFRecordDataset).batch(config.block_records)
    end = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string))
    return blocks.concatenate(end).map(lambda records: (tf.constant(0, tf.int64), records))
