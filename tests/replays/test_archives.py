"""What holds for every kind of archive: names, packed members, damage; and the cases."""

import contextlib
import gzip
import json
import lzma
import random
import zipfile
from pathlib import Path

import pytest
from replay_archives import (
    CONTAINERS,
    REPLAY,
    mutated,
    write_tar,
    write_zip,
)

from exphil_tf.replays import slp, sources, tar_copies
from exphil_tf.replays.refusals import ReplayError

NAMES = ["../1.slp", "a/../../1.slp", "/etc/1.slp", "C:\\1.slp", "a\n.slp", "..\\..\\1.slp",
         "x" * 300 + ".slp", "folder\u3000two/1.slp", "a\u00a0b\u202fc/1.slp",
         "Round 1: A vs B/1.slp", "soft\u00adhyphen/1.slp", "\u202eabc/1.slp", "\x1b[2J.slp",
         "a\u2028b.slp", "é/1.slp"]  # fmt: skip
"""A name is only a label: none of these is a reason to lose a game."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_member_of_any_name_is_read(tmp_path, name, kind):
    write = write_zip if kind == "zip" else write_tar
    found = sources.find([write(tmp_path / f"games.{kind}", {name: REPLAY, "ok.slp": REPLAY})])
    assert not found.refused
    wanted = name.replace("\\", "/") if kind == "zip" else name
    assert sorted(source.name for source in found.sources) == sorted([wanted, "ok.slp"])
    assert all(sources.read_bytes(source) == REPLAY for source in found.sources)
    assert json.loads(json.dumps(found.sources[0].label)) == found.sources[0].label
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".slp"]


def test_packed_replays_in_archives_are_read(tmp_path):
    members = {"1.slp.gz": gzip.compress(REPLAY), "2.SLP.XZ": lzma.compress(REPLAY), "a.txt": b"x"}
    for path in (write_zip(tmp_path / "a.zip", members), write_tar(tmp_path / "a.tar", members)):
        found = sources.find([path])
        assert [sources.read_bytes(source) for source in found.sources] == [REPLAY, REPLAY]
        assert not found.refused


@pytest.mark.parametrize("name", CONTAINERS)
def test_random_damage_never_raises_anything_else(tmp_path, name):
    data, path, rng = CONTAINERS[name](), tmp_path / name, random.Random(5)
    for _ in range(150):
        path.write_bytes(mutated(data, rng))
        found = sources.find([path])
        assert found.sources or found.refused or name.endswith(("tar", "zip", "zst")), path
        for source in found.sources:
            with contextlib.suppress(ReplayError):
                sources.read_bytes(source)
        tar_copies.release()


def test_real_replays_zip_and_read_back(tmp_path, real_replays):
    files = sources.find(real_replays)
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for source in files.sources[::4]:
            archive.write(source.path, Path(source.path).name)
    zipped = {source.name: source for source in sources.find([path]).sources}
    assert zipped
    for source in files.sources[::4]:
        if source.size >= slp.MIN_BYTES:
            name = Path(source.path).name
            assert sources.read_bytes(zipped[name]) == Path(source.path).read_bytes()


def test_every_container_of_the_case_is_accounted_for(cases_dir):
    found = sources.find([cases_dir / "other_containers_skipped_silently"])
    assert not found.refused
    outcome = {}
    for source in found.sources:
        try:
            outcome[source.label.rpartition("/")[2]] = len(sources.read_bytes(source))
        except ReplayError as error:
            outcome[source.label.rpartition("/")[2]] = str(error.reason)
    tar = "FOX_master-master_a1.tar.gz"
    assert outcome == {
        "Game_0.slp": 221287,
        "Game_1.slp.gz": 221287,
        "Game_2.slpz": "bad_archive",  # only its name is slpz
        **{f"{tar}!g{i}.slp": 221287 for i in range(3)},
        "pack.zip!Game_3.slpz": "bad_archive",
        "pack.zip!Game_4.slp.gz": 221287,
        "pack.zip!Game_5.slp": 221287,
    }


def test_every_name_of_the_case_is_read(cases_dir):
    found = sources.find([cases_dir / "zip_member_names"])
    assert len(found.sources) == 8 and not found.refused
    assert {len(sources.read_bytes(source)) for source in found.sources} == {221287}


def test_the_corpus_is_listed_from_its_zips(corpus_dir):
    found = sources.find([corpus_dir])
    assert len(found.sources) == 356 and not found.refused
    assert all(sources.read_bytes(source) for source in found.sources[::60])
