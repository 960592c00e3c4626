"""Cheap checks and the header: what a file says about itself, and what it may not do to us."""

import os
import struct
from pathlib import Path

import peppi_py
import pytest
from replay_games import make_game

from exphil_tf.melee.enums import EXTERNAL_TO_INTERNAL, Stage
from exphil_tf.replays import events, slp, ubjson
from exphil_tf.replays.parse import parse
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.writer import write_slp


def reason_of(source) -> Reason | None:
    try:
        parse(source)
    except ReplayError as error:
        return error.reason
    return None


@pytest.fixture(scope="module")
def written() -> bytes:
    return write_slp(make_game(0, length=60))


def test_special_files_are_refused_at_once(tmp_path: Path, written: bytes) -> None:
    fifo, loop = tmp_path / "pipe.slp", tmp_path / "loop.slp"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    (tmp_path / "file").write_bytes(written)
    for path in (
        fifo,
        loop,
        tmp_path,
        tmp_path / "absent.slp",
        tmp_path / "file" / "x.slp",
        Path("/dev/zero"),
    ):
        assert reason_of(path) is Reason.NOT_A_FILE, path


def test_links_to_replays_and_folders_are_followed(tmp_path: Path, written: bytes) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "game.slp").write_bytes(written)
    (tmp_path / "folder").symlink_to(store)
    (tmp_path / "link.slp").symlink_to(store / "game.slp")
    assert reason_of(tmp_path / "folder" / "game.slp") is None
    assert reason_of(str(tmp_path / "link.slp")) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "game.slp"
    path.write_bytes(written)
    path.chmod(0)
    assert reason_of(path) is Reason.UNREADABLE


def test_sizes(tmp_path: Path) -> None:
    assert reason_of(b"") is Reason.TOO_SMALL
    assert reason_of(events.MAGIC) is Reason.TOO_SMALL
    path = tmp_path / "huge.slp"
    with path.open("wb") as file:
        file.truncate(slp.MAX_BYTES + 1)
    assert reason_of(path) is Reason.TOO_BIG


@pytest.mark.parametrize(
    "start",
    [
        b"PK\3\4",
        b"\x1f\x8b",
        b"\x89PNG",
        b"\xef\xbb\xbf{U\x03raw[$U#l",
        b"{U\x03raw[$U#L",
        b"\0" * 16,
    ],
)
def test_other_formats(start: bytes) -> None:
    assert reason_of(start + b"\0" * 4096) is Reason.BAD_MAGIC


@pytest.mark.parametrize("depth", [31, 33, 100, 20_000, 1_000_000])
def test_nested_metadata_never_reaches_a_native_parser(written: bytes, depth: int) -> None:
    """At a depth of about 15,000 peppi-py's process dies of a stack overflow."""
    cut = written.index(events.METADATA_KEY) + len(events.METADATA_KEY)
    for opening, closing in ((b"{U\x01a", b"}"), (b"[", b"]")):
        nest = b"{U\x01x" + opening * (depth - 1) + b"Z" + closing * (depth - 1) + b"}"
        for data in (
            written[:cut] + nest + b"}",
            written[:cut] + nest[: len(nest) // 2],
            written[: len(events.MAGIC)] + bytes(4) + written[events.RAW_START : cut] + nest + b"}",
        ):
            deep = depth > ubjson.MAX_DEPTH and not (
                depth < 64 and len(data) < len(written[:cut] + nest)
            )
            assert reason_of(data) in ((Reason.NESTING,) if deep else (None, Reason.NESTING))


def test_ubjson_scalars_and_refusals() -> None:
    value = {"a": {"b": "text", "c": -5}, "long": "x" * 300, "": 7}
    data = ubjson.write_object(value)
    assert ubjson.read_object(b"??" + data, 2) == (value, 2 + len(data))
    everything = (
        b"{U\x01ai\xffU\x01bU\xffU\x01cI\xff\xfeU\x01dL"
        + struct.pack(">q", -9)
        + b"U\x01eTU\x01fFU\x01gZ"
    )
    everything += (
        b"U\x01hCyU\x01kd"
        + struct.pack(">f", 1.5)
        + b"U\x01lD"
        + struct.pack(">d", 2.5)
        + b"U\x01m[U\x01]}"
    )
    assert ubjson.read_object(everything, 0)[0] == {
        "a": -1, "b": 255, "c": -2, "d": -9, "e": True, "f": False, "g": None, "h": "y", "k": 1.5,
        "l": 2.5, "m": [1],
    }  # fmt: skip
    for bad in (
        b"[U\x01]",
        b"{U\x05abc}",
        b"{",
        b"{U\x01aq}",
        b"{U\x01aSi\xff}",
        b"{Sx}",
        b"{U\x01aSl\x7f\xff\xff\xff}",
    ):
        with pytest.raises(ubjson.UbjsonError):
            ubjson.read_object(bad, 0)
    with pytest.raises(ubjson.UbjsonError, match="more than"):
        ubjson.read_object(b"{" + b"U\x01aZ" * 30_000 + b"}", 0)


def test_header_equals_peppi_on_real_files(real_replays: list[Path]) -> None:
    compared = 0
    for path in real_replays:
        try:
            read = peppi_py.read_slippi(str(path), skip_frames=True)
        except BaseException:  # files that peppi refuses
            continue
        info = slp.read_header(slp.read_bytes(path))
        start = read.start
        assert info.version == tuple(start.slippi.version)
        assert (info.stage, info.seed, info.timer_s) == (
            start.stage,
            start.random_seed,
            start.timer,
        )
        assert (info.is_teams, info.is_pal, info.is_frozen_ps) == (
            start.is_teams, bool(start.is_pal), bool(start.is_frozen_ps),
        )  # fmt: skip
        match = start.match
        assert (info.match_id, info.game_index, info.tiebreak) == (
            (match.id, match.game, match.tiebreaker) if match else ("", 0, 0)
        )
        assert info.end_method == (None if read.end is None else read.end.method.value)
        quitter = read.end and read.end.lras_initiator
        assert info.lras == (None if quitter is None else quitter + 1)
        assert info.start_at == (read.metadata.get("startAt") or "")
        for got, want in zip(info.players, start.players, strict=True):
            assert got.port == want.port + 1
            assert got.character == EXTERNAL_TO_INTERNAL[want.character]
            assert got.is_cpu == (want.type.value == 1)
            assert got.cpu_level == (want.cpu_level or 0)
            assert (got.stocks, got.costume) == (want.stocks, want.costume)
            assert got.code.count("＃") == 0
        compared += 1
    assert compared > 0.85 * len(real_replays)


def test_netplay_names_and_codes(replays_dir: Path) -> None:
    """From the start block (3.16) and, before 3.9, from the metadata; full width becomes plain."""
    names = {
        name: [
            (player.name, player.code)
            for player in slp.read_header(slp.read_bytes(replays_dir / name)).players
        ]
        for name in ("peppi/v3.16.slp", "peppi/netplay.slp", "libmelee/test_game_1.slp")
    }
    assert names["peppi/v3.16.slp"] == [("Clown", "CLWN#889"), ("sweezy017", "SWZ#195")]
    assert names["peppi/netplay.slp"] == [("abcdefghijk", "ABCD#123"), ("nobody", "XX#000")]
    assert names["libmelee/test_game_1.slp"] == [("SmashBot (test)", "ALT#597"), ("Rug", "RUG#810")]


def test_an_unfinished_recording_is_not_complete(written: bytes) -> None:
    cut = written[: written.index(events.METADATA_KEY) - 2000]
    unfinished = cut[: len(events.MAGIC)] + bytes(4) + cut[events.RAW_START :]
    assert slp.scan(written).complete is True
    assert slp.scan(unfinished).complete is False


def test_wrong_kinds_of_game(written: bytes) -> None:
    start = slp.scan(written).start

    def changed(offset: int, value: bytes) -> bytes:
        return written[: start + offset] + value + written[start + offset + len(value) :]

    assert reason_of(changed(1, bytes([0, 1, 9]))) is Reason.OLD_VERSION
    assert reason_of(changed(0x66 + 0x48, b"\0")) is Reason.PLAYERS
    assert reason_of(changed(0x66, b"\3")) is Reason.PLAYERS
    assert reason_of(changed(0x13, b"\x01\x1d")) is Reason.OUT_OF_RANGE
    assert reason_of(changed(0, b"\x99")) is Reason.BAD_HEADER
    assert parse(changed(0x13, struct.pack(">H", Stage.DREAMLAND))).info.stage == Stage.DREAMLAND
