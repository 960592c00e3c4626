"""The graph's shape, and Beam's flags, without running a job."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import StandardOptions
from replay_collection import small_config

from beam_pipelines import storage
from beam_pipelines.beam_flags import beam_workers, is_local, known_flags, pipeline_options
from beam_pipelines.transforms import BuildDataset, InspectGames
from exphil_tf.foundation.atomic import TEMPORARY
from exphil_tf.foundation.errors import UserError
from exphil_tf.preprocessing.inspection import inspect_game
from exphil_tf.replays.sources import Found, Source

FOUND = Found([Source(f"{i}.slp") for i in range(200)], [])


@pytest.mark.parametrize("found", [None, FOUND])
@pytest.mark.parametrize("kind", ["build", "inspect"])
def test_graph_is_one_line(kind: str, found: Found | None, tmp_path: Path) -> None:
    """No branch, no tag, no side input: what Dask would get wrong without saying so."""
    config = small_config(tmp_path, tmp_path / "data")
    job = (
        BuildDataset(config, processes=1, spill_folder="spill", found=found)
        if kind == "build"
        else InspectGames(inspect_game, config, processes=1, found=found)
    )
    pipeline = beam.Pipeline(options=pipeline_options([]))
    _ = pipeline | job
    leaves = [
        transform
        for transform in pipeline.to_runner_api().components.transforms.values()
        if not transform.subtransforms
        and transform.spec.urn
        and list(transform.inputs.values()) != list(transform.outputs.values())  # does nothing
    ]
    assert len(leaves) > 10
    consumers = Counter(name for leaf in leaves for name in leaf.inputs.values())
    assert max(consumers.values()) == 1
    assert all(len(leaf.inputs) <= 1 and len(leaf.outputs) <= 1 for leaf in leaves)


def test_runner_is_named() -> None:
    """Beam's own default would try to download another runner."""
    for flags in ([], ["--runner=DirectRunner"]):
        options = pipeline_options(flags)
        assert options.view_as(StandardOptions).runner == "FnApiRunner"
        assert is_local(options)
        assert beam_workers(options) == 1
    flags = ["--direct_running_mode=multi_processing", "--direct_num_workers=3"]
    assert beam_workers(pipeline_options(flags)) == 3


def test_unknown_flags_are_refused() -> None:
    assert "--direct_num_workers" in known_flags()
    with pytest.raises(UserError, match="Did you mean --direct_running_mode"):
        pipeline_options(["--direct_runing_mode=in_memory"])
    with pytest.raises(UserError, match="runner"):
        pipeline_options(["--runner=Nope"])


def test_writes_through_beam_are_whole(tmp_path: Path) -> None:
    """The path for object stores, on a local folder."""
    folder = str(tmp_path)
    for text in (b"one", b"two"):  # the second replaces the first
        written = storage._write_through_beam(folder, "a.json", [text, b"!"])
        assert (tmp_path / "a.json").read_bytes() == text + b"!"
        assert written.bytes == 4
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


@pytest.mark.slow
def test_dataflow_dry_run(tmp_path: Path) -> None:
    pytest.importorskip("apitools", reason="needs apache-beam[gcp]")
    command = [
        sys.executable, "-m", "exphil_tf.preprocess", "--replays=gs://bucket/replays",
        "--output=gs://bucket/data", "--runner=DataflowRunner", "--project=project",
        "--region=us-central1", "--temp_location=gs://bucket/tmp",
        "--staging_location=gs://bucket/staging", "--dry_run=True", "--no_auth",
        "--dataflow_endpoint=http://localhost:9", "--sdk_container_image=image:1",
        "--sdk_location=container",
    ]  # fmt: skip
    environment = os.environ | {"NO_GCE_CHECK": "true"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "submitted" in result.stdout
