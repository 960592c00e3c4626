"""Copies that are killed, cut, flipped, refused and told of late; a folder stands for the store."""

import json
import os
import shutil

import pytest

from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.cloud import sums
from exphil_tf.cloud.download import download
from exphil_tf.cloud.store import FolderStore, StoreError
from exphil_tf.cloud.upload import upload
from exphil_tf.foundation import atomic
from tests.faulty_stores import FaultyStore, Killed, make_run, tree


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(sums, "_sleep", lambda seconds: None)


def fetched(store, folder, prefix=""):
    summary = download(store, folder, prefix)
    found = CheckpointStore(folder / "checkpoints").latest()
    return summary, found.step if found else None


def test_up_and_down_again(tmp_path):
    run = make_run(tmp_path / "run", 5, 10)
    (run / "lock").write_text("x")
    (run / "empty").write_text("")
    (run / ".tmp-half").write_text("x")
    store = FolderStore(tmp_path / "store")
    summary = upload(run, store, "runs/run")
    assert summary.files == 3 + 2 * 4 and not summary.problems
    assert upload(run, store, "runs/run").files == 0
    down, step = fetched(store, tmp_path / "back", "runs/run")
    (run / "lock").unlink()
    (run / ".tmp-half").unlink()
    assert tree(tmp_path / "back") == tree(run)
    assert (step, down.problems) == (10, [])
    again = download(store, tmp_path / "back", "runs/run")
    assert again.files == 0 and again.skipped


def test_what_changed_goes_up_and_nothing_is_deleted(tmp_path):
    run = make_run(tmp_path / "run", 5)
    store = FaultyStore(tmp_path / "store")
    upload(run, store)
    store.puts.clear()
    (run / "log.jsonl").write_text("longer\n")
    shutil.rmtree(run / "checkpoints")
    make_run(run, 10)
    (run / "log.jsonl").write_text("longer\n")
    upload(run, store)
    changed = [key for key in store.puts if "step-00000010" not in key]
    assert changed == ["log.jsonl", "sync-manifest.json"]
    _, step = fetched(store, tmp_path / "back")
    assert step == 10
    assert (tmp_path / "back/checkpoints/step-00000005").is_dir()


def test_an_upload_killed_at_any_operation_is_never_taken_for_whole(tmp_path):
    """Whatever was whole before stays so, and the next upload finishes the rest."""
    run = make_run(tmp_path / "run", 5)
    upload(run, FolderStore(tmp_path / "before"))
    make_run(run, 10)
    kills = 0
    for number in range(1, 60):
        place = tmp_path / f"store{number}"
        shutil.copytree(tmp_path / "before", place)
        try:
            upload(run, FaultyStore(place, kill_at=number))
            break
        except Killed:
            kills += 1
        summary, step = fetched(FolderStore(place), tmp_path / f"half{number}")
        assert step in (5, 10)
        is_there = (place / "checkpoints/step-00000010" / atomic.CHECKSUMS).exists()
        assert (step == 10) == is_there
        assert all("unfinished" in text for text in summary.problems)
        upload(run, FolderStore(place))
        _, step = fetched(FolderStore(place), tmp_path / f"whole{number}")
        assert step == 10
        assert tree(tmp_path / f"whole{number}") == tree(run)
    assert kills >= 8


def test_a_download_killed_at_any_operation_leaves_nothing_half(tmp_path):
    run = make_run(tmp_path / "run", 5, 10)
    upload(run, FolderStore(tmp_path / "store"))
    for number in range(1, 60):
        folder = tmp_path / f"to{number}"
        folder.mkdir()
        try:
            download(FaultyStore(tmp_path / "store", kill_at=number), folder)
            break
        except Killed:
            pass
        for place in folder.glob("checkpoints/step-*"):
            assert not atomic.problems(place)
        fetched(FolderStore(tmp_path / "store"), folder)
        assert tree(folder) == tree(run)
    assert number > 5


@pytest.mark.parametrize("fault", ["cut", "flip"])
def test_damage_on_the_way_is_noticed_and_tried_again(tmp_path, fault):
    run = make_run(tmp_path / "run", 5)
    upload(run, FolderStore(tmp_path / "store"))
    keys = [one.key for one in FolderStore(tmp_path / "store").list() if "manifest" not in one.key]
    store = FaultyStore(tmp_path / "store", **{fault: keys})
    summary, step = fetched(store, tmp_path / "back")
    assert (step, summary.problems) == (5, [])
    assert tree(tmp_path / "back") == tree(run)


def test_damage_that_stays_is_told_and_not_fetched(tmp_path):
    run = make_run(tmp_path / "run", 5, 10)
    upload(run, FolderStore(tmp_path / "store"))
    path = tmp_path / "store/checkpoints/step-00000010/state.data"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    summary, step = fetched(FolderStore(tmp_path / "store"), tmp_path / "back")
    assert step == 5
    assert any("step-00000010" in text and "not whole" in text for text in summary.problems)
    assert not (tmp_path / "back/checkpoints/step-00000010").exists()


def test_a_store_that_refuses_now_and_then(tmp_path):
    run = make_run(tmp_path / "run", 5)
    upload(run, FolderStore(tmp_path / "store"))
    refusals = {1, 3, 4, 7, 8, 12}  # fewer after 6 than tries: threads may all give one file theirs
    summary, step = fetched(FaultyStore(tmp_path / "store", refuse=refusals), tmp_path / "back")
    assert (step, summary.problems) == (5, [])
    with pytest.raises(StoreError, match="503"):
        download(FaultyStore(tmp_path / "store", refuse=range(99)), tmp_path / "none")


def test_a_listing_that_lags_loses_nothing(tmp_path):
    """What the manifest names is fetched by its key, listed or not."""
    run = make_run(tmp_path / "run", 5)
    upload(run, FolderStore(tmp_path / "store"))
    store = FaultyStore(tmp_path / "store", stale=True)
    make_run(run, 10)
    upload(run, FolderStore(tmp_path / "store"))
    summary, step = fetched(store, tmp_path / "back")
    assert (step, summary.problems) == (10, [])


def test_a_checkpoint_that_is_whole_there_is_not_written_again(tmp_path):
    """A run that went back to an earlier step makes it again with other times in it."""
    first = make_run(tmp_path / "one", 5, seed=1)
    store = FaultyStore(tmp_path / "store")
    upload(first, store)
    before = tree(tmp_path / "store/checkpoints")
    second = make_run(tmp_path / "two", 5, seed=2)
    upload(second, store)
    assert tree(tmp_path / "store/checkpoints") == before


def test_a_policy_that_is_replaced_is_whole_or_refused(tmp_path):
    folder, store = tmp_path / "run", tmp_path / "store"
    for content in (b"old", b"new"):
        with atomic.publish(folder / "policy") as place:
            (place / "weights").write_bytes(content)
            (place / "config").write_bytes(content * 2)
        for number in range(1, 20):
            try:
                upload(folder, FaultyStore(store, kill_at=number))
                break
            except Killed:
                back = tmp_path / f"{content.decode()}{number}"
                summary = download(FolderStore(store), back)
                whole = (back / "policy").is_dir() and not atomic.problems(back / "policy")
                assert whole or summary.problems or content == b"old"
        assert tree(store) == tree(folder)


def test_local_files_that_are_newer_stay(tmp_path):
    run = make_run(tmp_path / "run")
    store = FolderStore(tmp_path / "store")
    upload(run, store)
    (run / "log.jsonl").write_text("written since\n")
    assert download(store, run).files == 0
    assert (run / "log.jsonl").read_text() == "written since\n"


def test_a_folder_that_another_tool_filled(tmp_path):
    """There is no manifest then; links are followed."""
    source = tmp_path / "slp"
    (source / "mewtwo").mkdir(parents=True)
    (source / "mewtwo/a.slp").write_bytes(b"a" * 10)
    (source / "b.slp").symlink_to(source / "mewtwo/a.slp")
    summary = download(FolderStore(source), tmp_path / "replays")
    assert summary.files == 2
    assert sorted(tree(tmp_path / "replays")) == ["b.slp", "mewtwo/a.slp"]
    assert download(FolderStore(source), tmp_path / "replays").files == 0
    assert upload(source / "b.slp", FolderStore(tmp_path / "one")).files == 1


def test_a_link_that_leads_back_is_not_followed(tmp_path):
    (source := tmp_path / "slp/mewtwo").mkdir(parents=True)
    (source / "a.slp").write_bytes(b"a")
    (source / "all").symlink_to(tmp_path / "slp")
    (source / "same").symlink_to(source)
    (tmp_path / "slp/old").symlink_to(source)  # leads nowhere back but into itself
    upload(tmp_path / "slp", FolderStore(tmp_path / "store"))
    found = sorted(key for key in tree(tmp_path / "store") if key.endswith(".slp"))
    assert found == ["mewtwo/a.slp", "old/a.slp"]


def test_a_folder_that_may_not_be_read_is_an_error_and_no_empty_one(tmp_path, monkeypatch):
    (tmp_path / "slp/closed").mkdir(parents=True)
    plain = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(PermissionError, match="closed"):
        upload(tmp_path / "slp", FolderStore(tmp_path / "store"))


def test_a_list_of_sums_names_nothing_outside_its_folder(tmp_path):
    place = tmp_path / "store/policy"
    place.mkdir(parents=True)
    listed = {"files": {"../../evil": {"sha256": "0" * 64, "bytes": 1}}}
    (place / atomic.CHECKSUMS).write_text(json.dumps(listed))
    summary = download(FolderStore(tmp_path / "store"), tmp_path / "back/a")
    assert "outside its folder" in summary.problems[0]
    with pytest.raises(StoreError, match="inside its folder"):
        FolderStore(tmp_path).get_bytes("../x")
