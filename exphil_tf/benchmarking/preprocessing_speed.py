"""Preprocessing: frames per CPU-second from replay bytes to shard bytes, against parsing alone."""

import shutil
from dataclasses import replace
from pathlib import Path

from beam_pipelines.build_dataset import build_dataset, find_replays
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.benchmarking.timing import Timed, best, measure
from exphil_tf.preprocessing.dataset_config import DatasetConfig, RecordConfig
from exphil_tf.preprocessing.game_records import EncodeItem, GameTask, encode_game
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.parse import Route, read_replay
from exphil_tf.replays.refusals import ReplayError
from exphil_tf.replays.sources import Source, is_plain


def _item(source: Source, variants: RecordConfig) -> EncodeItem:
    task = GameTask(source, "", identity="0" * 32)
    return EncodeItem(task, FilterConfig(), variants)


def _parse(source: Source) -> None:
    """peppi-py's own parser, without any of our columns.

    Raises:
      OSError: for files that it cannot read.
    """
    from peppi_py import _peppi  # pyright: ignore - a private module of a compiled wheel

    try:
        _peppi.read_slippi(source.path, False)
    except BaseException as error:  # its panics are no Exceptions
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise OSError(str(error)) from None


def _readable(sources: list[Source]) -> dict[Source, int]:
    """Replays that both sides read, with their frames: ratios are on the same files."""
    frames: dict[Source, int] = {}
    for source in sources:
        try:
            # Repaired files would be another one's work, and make peppi-py print a stack trace.
            if read_replay(source.path).route is not Route.STRICT:
                continue
            _parse(source)
            encoded = encode_game(_item(source, RecordConfig()))
        except (OSError, ReplayError):
            continue
        if encoded.game is not None:
            frames[source] = encoded.game.frames
    return frames


def run(replays: list[str], *, work_dir: Path) -> Report:
    """Times parsing alone, the work of one process, and the whole Beam job.

    Args:
      replays: folders or files.
      work_dir: for the dataset, which is removed again.
    """
    sources = [one for one in find_replays(replays).sources if is_plain(one)]
    frames = _readable(sources)
    if not frames:
        raise ValueError(f"--replays: no replay in {' '.join(replays)} that can be trained on")
    total = sum(frames.values())

    def each(work) -> int:
        for source in frames:
            work(source)
        return total

    rows: dict[str, Timed] = {"peppi-py, parse only": best(lambda: each(_parse))}
    sizes: dict[str, float] = {}
    mirrored = RecordConfig(variants=("original", "mirrored"))
    for name, config in {
        "original": RecordConfig(),
        "original + mirrored": mirrored,
        "original + mirrored + 1 noisy": replace(mirrored, num_noisy_variants=1),
    }.items():
        rows[name] = best(lambda config=config: each(lambda s: encode_game(_item(s, config))))
        encoded = [encode_game(_item(source, config)) for source in frames]
        games = [one.game for one in encoded if one.game is not None]
        rows_of = [game.frames * game.perspectives.bit_count() for game in games]
        stored = sum(len(data) for one in encoded for data in one.parts[1:])
        sizes[name] = stored / (sum(rows_of) * len(config.all_variants))
    output = work_dir / "benchmark-dataset"
    config = DatasetConfig(replays=tuple(replays), output=str(output), overwrite=True)
    job = measure(lambda: build_dataset(config).totals.frames)
    shutil.rmtree(output, ignore_errors=True)
    rows["whole Beam job (start-up included)"] = job
    raw = rows["peppi-py, parse only"].per_cpu_s
    figures = {
        name: {
            "frames/CPU-s": timed.per_cpu_s,
            "frames/s": timed.per_s,
            "ratio to peppi-py": timed.per_cpu_s / raw,
        }
        for name, timed in rows.items()
    }
    for name, size in sizes.items():
        figures[name]["bytes per frame and perspective"] = size
    return Report(
        f"Preprocessing of {len(frames)} replays, {total:,} frames",
        ("frames/CPU-s", "frames/s", "ratio to peppi-py", "bytes per frame and perspective"),
        figures,
        (
            "Game frames, not frames per perspective. Encoding: parse, check, filter, pack, "
            "compress, both perspectives, in one process.",
        ),
    )
