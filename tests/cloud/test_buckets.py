"""Buckets, on a server that speaks S3, itself and behind a proxy that spoils what passes."""

import pytest

from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.cloud import bucket as buckets
from exphil_tf.cloud import sums
from exphil_tf.cloud.address import access_of, open_store, parse
from exphil_tf.cloud.bucket import BucketAccess, BucketStore, Patience
from exphil_tf.cloud.download import download
from exphil_tf.cloud.store import MissingError, StoreError
from exphil_tf.cloud.upload import upload
from tests.fault_proxy import Faults, proxy
from tests.faulty_stores import make_run, tree


@pytest.mark.parametrize("kind", ["b2", "r2", "s3"])
def test_up_down_and_up_again(tmp_path, bucket, keys, kind):
    run = make_run(tmp_path / "run", 5, 10)
    (run / "empty").write_text("")
    store = open_store(parse(f"{kind}:{bucket}/runs/mine"), keys)
    assert upload(run, store).files == 3 + 8
    assert upload(run, store).files == 0
    assert download(store, tmp_path / "back").problems == []
    assert tree(tmp_path / "back") == tree(run)
    other = open_store(parse(f"{kind}:{bucket}"), keys)
    assert "runs/mine/log.jsonl" in [one.key for one in other.list()]
    with pytest.raises(MissingError):
        other.get_bytes("nothing")


def test_large_files_go_in_parts_and_are_known_again(tmp_path, bucket, keys, monkeypatch):
    """Without the manifest, by the etag that the server makes of the parts."""
    size = 5 << 20  # the least that S3 takes
    for module in (buckets, sums):
        monkeypatch.setattr(module, "PART_BYTES", size)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "shard").write_bytes(bytes(range(256)) * (11 << 12))
    store = open_store(parse(f"s3:{bucket}"), keys)
    told = []
    upload(folder, store, on_file=lambda name, count: told.append)
    assert sum(told) == (folder / "shard").stat().st_size
    (listed,) = [one for one in store.list() if one.key == "shard"]
    assert listed.etag == sums.etag_of(folder / "shard")
    assert listed.etag.endswith("-3")
    sums.write_manifest(store, "", {})
    assert upload(folder, store).files == 0


def spoilt(address, name, **options):
    access = BucketAccess(name, address, "us-east-1", "canary-aws", "canary-aws-secret")
    return BucketStore(access, patience=Patience(**{"retries": 2, "total_s": 20, **options}))


@pytest.mark.parametrize(
    "faults", [{"refuse": 0.25}, {"cut": 0.6}, {"slow_s": 0.01, "refuse": 0.1, "cut": 0.2}]
)
def test_a_server_that_fails_now_and_then(tmp_path, bucket, s3_server, faults):
    run = make_run(tmp_path / "run", 5, size=100)
    with proxy(s3_server, made := Faults(**faults, seed=3)) as address:
        store = spoilt(address, bucket)
        upload(run, store)
        summary = download(store, tmp_path / "back")
    assert made.counts["refused"] + made.counts["cut"] > 0
    assert summary.problems == []
    assert tree(tmp_path / "back") == tree(run)


def test_a_server_whose_listings_lag(tmp_path, bucket, s3_server):
    run = make_run(tmp_path / "run", 5)
    with proxy(s3_server, made := Faults(stale=True)) as address:
        store = spoilt(address, bucket)
        assert store.list() == []
        upload(run, store)
        make_run(run, 10)
        upload(run, store)
        assert store.list() == []
        summary = download(store, tmp_path / "back")
    assert made.counts["stale"] > 3
    assert summary.problems == []
    assert CheckpointStore(tmp_path / "back/checkpoints").latest().step == 10


def test_a_server_that_is_down_is_one_line_without_keys(bucket):
    store = spoilt("http://127.0.0.1:9", bucket, retries=0, total_s=1)
    with pytest.raises(StoreError) as caught:
        store.list()
    assert "canary" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_region_of_an_account_is_asked_for(s3_server, keys):
    """Backblaze tells it whoever has the keys; here a proxy's answer is none of its."""
    from exphil_tf.foundation.errors import UserError

    asked = {"B2_KEY_ID": "canary-key-id", "B2_APP_KEY": "canary-app-key"}
    with pytest.raises(UserError, match="Backblaze") as caught:
        access_of(parse("b2:some-bucket"), asked, b2_api=s3_server)
    assert "canary" not in str(caught.value)
