"""Replays → dataset, from start to finish: refuse, reuse, sweep, run, tidy up.

`build_dataset` is what `python -m exphil_tf.preprocess` and training call. It is idempotent: a
finished dataset of the same files and configuration is returned as it is, an unfinished one is
built anew from nothing, and one process at a time works on a folder.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines import storage
from beam_pipelines.beam_flags import beam_workers, is_local, naming_runner, pipeline_options
from beam_pipelines.sdk_worker import ending_with_the_job
from beam_pipelines.spill import SPILL
from beam_pipelines.transforms import BuildDataset, scan
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.preprocessing import job_progress
from exphil_tf.preprocessing.dataset_config import DatasetConfig, content_config
from exphil_tf.preprocessing.placement import input_hash, refused_content
from exphil_tf.process import file_lock
from exphil_tf.process.cores import usable_cores
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE, EXIT_NO_INPUT
from exphil_tf.records import integrity
from exphil_tf.records import manifest as manifests
from exphil_tf.records.manifest import Manifest, load_manifest
from exphil_tf.records.shards import ShardName
from exphil_tf.replays.sources import Found

OnProgress = Callable[[job_progress.Count], None]
_POLL_S = 0.25
_OS_ERROR = re.compile(r"\[Errno (\d+)\] ([^\n:]*)(?:: '([^'\n]*)')?")
_log = logging.getLogger(__name__)


def find_replays(replays: Sequence[str]) -> Found:
    """Every replay of the given paths.

    Raises:
      UserError: if a path is missing, or nothing in them looks like a replay.
    """
    try:
        found = storage.find(replays)
    except FileNotFoundError as error:
        raise UserError(
            f"--replays: {error.filename}: no such file or folder",
            "Give a folder of .slp files, a zip or tar, or a .slp file.",
            exit_code=EXIT_NO_INPUT,
        ) from error
    if not found.sources and not found.refused:
        raise UserError(
            f"--replays: no .slp file or archive in {' '.join(map(str, replays))}",
            "Give the folder where Slippi saves them, or make some: python -m exphil_tf.samples.",
            exit_code=EXIT_NO_INPUT,
        )
    return found


def finished(config: DatasetConfig, found: Found) -> Manifest | None:
    """The manifest in the output folder, if it is that of the same files and configuration.

    Raises:
      UserError: if there is a finished dataset of something else and `overwrite` isn't set.
    """
    folder = Path(config.output)
    if storage.is_remote(config.output) or not (folder / manifests.MANIFEST).exists():
        return None
    try:
        manifest = load_manifest(folder)
        integrity.check(folder, manifest, mode="sizes")
    except manifests.ManifestError:
        if config.overwrite:
            return None
        raise
    difference = _difference(manifest, config, found)
    if not difference:
        return manifest
    if config.overwrite:
        return None
    raise UserError(
        f"--output: {folder} holds a finished dataset of {difference}",
        "Choose another folder, or pass --overwrite to replace it.",
        exit_code=EXIT_CANNOT_CREATE,
    )


def _difference(manifest: Manifest, config: DatasetConfig, found: Found) -> str:
    wanted = content_config(config)
    names = sorted({*wanted, *manifest.config})
    changed = [name for name in names if wanted.get(name) != manifest.config.get(name)]
    if changed:
        return f"another configuration ({', '.join(changed[:4])})"
    return "" if content_hash(found) == manifest.input_hash else "other replays"


def content_hash(found: Found) -> str:
    """Hash of the set of input files by content: a manifest's `input_hash`."""
    with ThreadPoolExecutor(min(8, usable_cores())) as threads:
        contents = [one.content for one in threads.map(scan, found.sources)]
    return input_hash([*contents, *map(refused_content, found.refused)])


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; the lock leaves no file and ends with the process.

    Raises:
      UserError: if another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock.locked(folder))
        except OSError as error:
            raise UserError(
                f"--output: another process is writing {folder}",
                "Wait for it, or choose another folder.",
                exit_code=EXIT_CANNOT_CREATE,
            ) from error
        yield


def _prepare(folder: Path) -> None:
    """Removes what an earlier run left; the manifest first, as nothing is finished from then on."""
    (folder / manifests.MANIFEST).unlink(missing_ok=True)
    swept = atomic.sweep(folder)
    if swept:
        _log.info("swept %d unfinished files of a killed run", len(swept))
    for path in folder.glob("*.tfrecord"):
        with contextlib.suppress(ValueError):
            ShardName.parse(path.name)
            path.unlink()
    for name in (manifests.GAMES, manifests.REJECTED):
        (folder / name).unlink(missing_ok=True)


def build_dataset(
    config: DatasetConfig,
    *,
    beam_flags: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    found: Found | None = None,
) -> Manifest:
    """Builds a dataset, or returns the finished one of the same files and configuration.

    Args:
      config: of the job.
      beam_flags: Beam options, such as `--runner=DaskRunner`.
      on_progress: called now and then with what is done.
      found: `find_replays(config.replays)`, if already at hand.

    Raises:
      UserError: what the user can put right.
      OSError: disk full, and the like; the folder then holds no manifest, and a rerun starts clean.
    """
    options = pipeline_options(beam_flags)
    found = found or find_replays(config.replays)
    if storage.is_remote(config.output):
        raise UserError(f"--output: {config.output} is remote", "Use `submit` for such a job.")
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        manifest = finished(config, found)
        if manifest is not None:
            atomic.sweep(folder)
            return manifest
        _prepare(folder)
        spill_folder = folder.resolve() / _spill_name()
        try:
            job = BuildDataset(
                config,
                processes=processes_of(config, options),
                spill_folder=str(spill_folder),
                found=found,
            )
            with reporting(spill_folder, on_progress):
                run_pipeline(job, options)
        finally:
            shutil.rmtree(spill_folder, ignore_errors=True)
        return load_manifest(folder)


def _spill_name() -> str:
    return f"{SPILL}-{uuid.uuid4().hex[:8]}"


def submit(config: DatasetConfig, *, beam_flags: Sequence[str]) -> str:
    """Hands the job to a cluster with an object store; returns what its runner says of it.

    Raises:
      UserError: if the flags don't go together.
    """
    options = pipeline_options(beam_flags)
    if is_local(options):
        raise UserError(
            f"--output: {config.output} is remote", "Name a cluster: --runner=DataflowRunner."
        )
    pipeline = beam.Pipeline(options=options)
    spill_folder = storage.join(config.output, _spill_name())
    _ = pipeline | BuildDataset(
        config, processes=config.worker.processes, spill_folder=spill_folder
    )
    with naming_runner(options):
        result = pipeline.run()
    return f"submitted: {getattr(result, 'state', None) or type(result).__name__}"


def processes_of(config: DatasetConfig, options: PipelineOptions) -> int:
    """Parsing processes per Beam worker: as configured, else the cores shared out."""
    return config.worker.workers or max(1, config.worker.processes // beam_workers(options))


def run_pipeline(job: beam.PTransform, options: PipelineOptions) -> None:
    """Runs a job to its end.

    Raises:
      OSError: if that is what stopped a worker (disk full…).
    """
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | job
    result = None
    try:
        with naming_runner(options), ending_with_the_job():
            result = pipeline.run()
        result.wait_until_finish()
    except OSError:
        raise
    except Exception as error:
        if str(error).startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt from None  # Ctrl-C inside a DoFn
        raise _system_error(error) or error from None
    finally:
        client = getattr(result, "client", None)
        if client is not None:
            client.close()  # Dask's workers


def _system_error(error: BaseException) -> OSError | None:
    """The OSError of a worker, which Beam passes on as text."""
    found = _OS_ERROR.findall(str(error))
    if not found:
        return None
    code, text, path = found[-1]
    return (
        OSError(int(code), text or os.strerror(int(code)), path)
        if int(code) in errno.errorcode
        else None
    )


@contextlib.contextmanager
def reporting(folder: Path, on_progress: OnProgress | None) -> Iterator[None]:
    """Calls back with the sums of the counts that workers leave in a folder, until the job ends."""
    if on_progress is None:
        yield
        return
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(_POLL_S):
            on_progress(job_progress.read(folder))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        on_progress(job_progress.read(folder))
