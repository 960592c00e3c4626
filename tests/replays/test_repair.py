"""Repair: what is saved of a damaged replay is a bit-identical prefix of the game."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peppi_py
import pytest
from fixture_replays import NAMES
from replay_games import event_positions, make_game, rebuild

from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import Frames, Game
from exphil_tf.replays import events, libmelee_reader, peppi, slp
from exphil_tf.replays.parse import Route, read_replay
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.repair import repair
from exphil_tf.replays.writer import write_slp

WHOLE = make_game(1, length=120, picked=(Character.POPO, Character.FOX))
DATA = write_slp(WHOLE)


def assert_prefix(got: Frames, whole: Frames, *, at_least: int) -> None:
    assert at_least <= len(got) <= len(whole)
    assert [name for name in whole if not np.array_equal(got[name], whole[name][: len(got)])] == []


def test_truncations_at_every_kind_of_place() -> None:
    """300 seeded cuts: whatever is left holds every frame whose bookend survived."""
    ends = [position + 9 for code, position in event_positions(DATA) if code == events.FRAME_END]
    rng = np.random.default_rng(0)
    saved = 0
    for cut in sorted(rng.integers(slp.MIN_BYTES, len(DATA), 300).tolist()):
        want = sum(end <= cut for end in ends)
        for data in (
            DATA[:cut],
            DATA[: len(events.MAGIC)] + bytes(4) + DATA[events.RAW_START : cut],
        ):
            if not want:
                with pytest.raises(ReplayError) as caught:
                    read_replay(data)
                assert caught.value.reason in (Reason.NO_FRAMES, Reason.BAD_HEADER)
                continue
            replay = read_replay(data)
            assert replay.route in (Route.REPAIRED, Route.STRICT)
            assert len(replay.game.frames) == want
            assert_prefix(replay.game.frames, WHOLE.frames, at_least=want)
            saved += 1
    assert saved > 550


@pytest.mark.parametrize(
    "name",
    [*NAMES, "peppi/v3.18.slp", "peppi/v3.16.slp", "peppi/ics2.slp", "libmelee/test_game_1.slp"],
)
def test_truncations_of_real_files(real_replay: Callable[[str], Path], name: str) -> None:
    data = real_replay(name).read_bytes()
    replay = read_replay(data, version="first")
    recorded = [name for name in replay.game.frames if name not in replay.absent]
    whole = Frames({name: replay.game.frames[name] for name in recorded})
    rng = np.random.default_rng(1)
    for cut in rng.integers(len(data) // 3, len(data), 12).tolist():
        got = read_replay(data[:cut], version="first").game.frames
        assert_prefix(got, whole, at_least=1)


def test_unfinished_recordings_with_and_without_metadata() -> None:
    unfinished = DATA[: len(events.MAGIC)] + bytes(4) + DATA[events.RAW_START :]
    for data in (unfinished, unfinished[: unfinished.index(events.METADATA_KEY)]):
        assert_prefix(read_replay(data).game.frames, WHOLE.frames, at_least=len(WHOLE.frames))


@pytest.mark.parametrize(
    "dropped",
    [
        {events.GAME_END},
        {events.FRAME_END, events.GAME_END},
        {events.FRAME_START},
        {events.FRAME_END, events.FRAME_START},
    ],
)
def test_missing_marks(dropped: set[int]) -> None:
    got = read_replay(rebuild(DATA, lambda code, _: code not in dropped))
    lost = int(dropped == {events.FRAME_END, events.GAME_END})  # nothing closes the last frame
    assert_prefix(got.game.frames, WHOLE.frames, at_least=len(WHOLE.frames) - lost)


def test_the_slow_path_takes_over_when_peppi_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a future peppi-py refuses, libmelee's reader still gives the same frames."""

    def give_up(*_: object, **__: object) -> None:
        raise ReplayError(Reason.PARSER_PANIC, "peppi: index out of bounds")

    monkeypatch.setattr(peppi, "read_frames", give_up)
    replay = read_replay(DATA)
    assert replay.route is Route.LIBMELEE
    assert "parser_panic" in replay.note
    assert_prefix(replay.game.frames, WHOLE.frames, at_least=len(WHOLE.frames))


def spoiled_rows(frames: Frames) -> list[int]:
    return np.flatnonzero(frames["absent"] & SPOILED).tolist()


def assert_whole_but(got: Frames, whole: Frames, rows: list[int]) -> None:
    """Equal everywhere but in `rows`, which are marked and hold what was there before them."""
    assert spoiled_rows(got) == rows
    others = np.setdiff1d(np.arange(len(whole)), rows)
    assert len(got) == len(whole)
    for name in whole:
        np.testing.assert_array_equal(got[name][others], whole[name][others], err_msg=name)
        if name not in ("frame", "absent", "s.randall_x", "s.randall_y"):
            before = [max(others[others < row], default=others[0]) for row in rows]
            np.testing.assert_array_equal(got[name][rows], got[name][before], err_msg=name)
    np.testing.assert_array_equal(got["frame"], whole["frame"])


@pytest.mark.parametrize("lost", [-60, -123, -122, -4])
def test_a_frame_that_is_missing_is_filled(lost: int) -> None:
    """By both readers; behind the last frame nothing is missing."""
    data = rebuild(DATA, lambda _, frame: frame != lost)
    rows = [lost + 123] if lost != -4 else []
    whole = WHOLE.frames if rows else WHOLE.frames.slice(0, 119)
    assert_whole_but(read_replay(data).game.frames, whole, rows)
    slow = libmelee_reader.read_frames(repair(data).data, WHOLE.info)
    assert_whole_but(slow, whole, rows)


@pytest.mark.parametrize("code", [events.PRE, events.POST])
@pytest.mark.parametrize("nth", [0, 1, 2])
@pytest.mark.parametrize("row", [0, 1, 60, 118])
def test_one_lost_event_spoils_one_frame(code: int, nth: int, row: int) -> None:
    """Of either player or of Nana: the rest of the game stays."""
    places = [p for c, p in event_positions(DATA) if c == code]
    frame_of = {p: struct.unpack_from(">i", DATA, p + 1)[0] + 123 for p in places}
    mine = [p for p in places if frame_of[p] == row]
    place = mine[min(nth, len(mine) - 1)]
    size = slp.scan(DATA).sizes[code]
    raw = DATA[events.RAW_START : place] + DATA[place + size : slp.scan(DATA).stop]
    got = read_replay(events.container(raw, b"{}"))
    assert_whole_but(got.game.frames, WHOLE.frames, [row])


def test_streams_without_marks_lose_two_frames_at_most() -> None:
    """Before 2.2 nothing but the first port's pre-frame begins a frame."""
    bare = rebuild(DATA, lambda code, _: code not in (events.FRAME_START, events.FRAME_END))
    for code in (events.PRE, events.POST):
        places = [p for c, p in event_positions(bare) if c == code]
        for place in (places[100], places[101]):
            size = slp.scan(bare).sizes[code]
            raw = bare[events.RAW_START : place] + bare[place + size : slp.scan(bare).stop]
            got = read_replay(events.container(raw, b"{}")).game.frames
            assert len(got) == len(WHOLE.frames)
            assert 1 <= len(spoiled_rows(got)) <= 2


def test_a_long_hole_cuts_there() -> None:
    game = make_game(3, length=2000)
    data = write_slp(game)
    for first, length, want in ((500, 31, 500), (500, 30, 2000), (0, 30, 2000)):
        lost = range(first - 123, first - 123 + length)
        got = read_replay(rebuild(data, lambda _, frame, lost=lost: frame not in lost)).game
        assert len(got.frames) == want
        assert len(spoiled_rows(got.frames)) == (length if want == 2000 else 0)


def test_too_many_holes_cut_where_they_become_too_many() -> None:
    game = make_game(3, length=1000)
    data = write_slp(game)
    got = read_replay(rebuild(data, lambda _, frame: (frame or 1) % 7 != 0 or frame < 300)).game
    assert 423 <= len(got.frames) < 520
    assert len(spoiled_rows(got.frames)) <= 1 + 0.02 * len(got.frames)


def rolled_back(extra: list[int]) -> bytes:
    """Frames -123 to 0, then `extra` frames again, unfinished; bookends confirm nothing new."""
    game = make_game(3, length=140)
    data = write_slp(game)
    parts: dict[int, bytes] = {}
    for code, position in event_positions(data):
        if code in events.FRAME_EVENTS:
            size = slp.scan(data).sizes[code]
            event = data[position : position + size]
            frame = struct.unpack_from(">i", event, 1)[0]
            if code == events.FRAME_END:
                event = event[:5] + struct.pack(">i", min(frame, -2))
            parts[frame] = parts.get(frame, b"") + event
    found = slp.scan(data)
    start = data[events.RAW_START : found.start + found.sizes[events.GAME_START]]
    raw = start + b"".join(parts[frame] for frame in [*range(-123, 1), *extra])
    return events.MAGIC + bytes(4) + raw


@pytest.mark.parametrize("extra", [[], [-1], [-1, 0], [-1, 0, 1]])
def test_a_cut_inside_a_rollback_keeps_what_is_confirmed(extra: list[int]) -> None:
    for tail in (b"", b"\x38\x00\x00"):
        for version in ("last", "first"):
            frames = read_replay(rolled_back(extra) + tail, version=version).game.frames
            assert frames["frame"][-1] == -2


@pytest.mark.parametrize(("extra", "last"), [([-2], -2), ([-2, -1], -1), ([-2, -1, 0], 0)])
def test_a_cut_inside_a_rollback_before_bookends_told(extra: list[int], last: int) -> None:
    """Before 3.7 only the order tells: frames behind the last one were undone."""
    data = rebuild(rolled_back(extra), lambda *_: True, sizes=OLD_SIZES[3, 6, 1])
    unfinished = data[: len(events.MAGIC)] + bytes(4) + data[events.RAW_START : -12]
    assert read_replay(unfinished).game.frames["frame"][-1] == last


@pytest.mark.parametrize("method", [6, 9, 77])
def test_game_end_methods_unknown_to_peppi(method: int) -> None:
    position = event_positions(DATA)[-1][1]
    data = DATA[: position + 1] + bytes([method]) + DATA[position + 2 :]
    replay = read_replay(data)
    assert replay.game.info.end_method == method, "the header keeps what the file says"
    assert_prefix(replay.game.frames, WHOLE.frames, at_least=len(WHOLE.frames))


def test_duplicate_game_end_and_unknown_events() -> None:
    end = event_positions(DATA)[-1][1]
    stop = slp.scan(DATA).stop
    for extra in (DATA[end:stop], b"\xee\x01\x02\x03"):
        sizes = events.SIZES_3_16 | {0xEE: 3}
        raw = (
            events.payload_table(sizes) + DATA[slp.scan(DATA).start : end] + extra + DATA[end:stop]
        )
        data = events.container(raw, b"{}")
        assert_prefix(read_replay(data).game.frames, WHOLE.frames, at_least=len(WHOLE.frames))
        assert repair(data).num_rows == len(WHOLE.frames)


OLD_SIZES = {
    (3, 0, 0): {0x36: 418, 0x37: 63, 0x38: 52, 0x39: 2, 0x3A: 8, 0x3B: 37, 0x3C: 4},
    (3, 5, 0): {0x36: 418, 0x37: 63, 0x38: 72, 0x39: 2, 0x3A: 8, 0x3B: 41, 0x3C: 4},
    (3, 6, 1): {0x36: 418, 0x37: 63, 0x38: 72, 0x39: 2, 0x3A: 8, 0x3B: 42, 0x3C: 4},
    (3, 9, 0): {0x36: 584, 0x37: 63, 0x38: 76, 0x39: 2, 0x3A: 8, 0x3B: 42, 0x3C: 8},
}
SPEEDS = (
    "speed_air_x_self",
    "speed_ground_x_self",
    "speed_y_self",
    "speed_x_attack",
    "speed_y_attack",
)


@pytest.mark.parametrize("version", OLD_SIZES)
def test_versions_that_peppi_cannot_read(version: tuple[int, int, int]) -> None:
    """3.0 to 3.6 panic in peppi-py 0.8.6; ours have every recorded column, and defaults for the
    rest."""
    game = make_game(4, length=80, ports=(1, 4))
    data = rebuild(
        write_slp(game), lambda *_: True, sizes=OLD_SIZES[version], version=bytes(version)
    )
    replay = read_replay(data)
    assert replay.route is (Route.STRICT if version >= (3, 7, 0) else Route.REPAIRED)
    assert replay.game.info.version == version
    want = {"hitlag"} if version < (3, 8, 0) else set()
    want |= {"items_owned", "held_item", "held_frames"} if version < (3, 6, 0) else set()
    want |= set(SPEEDS) if version < (3, 5, 0) else set()
    assert {name[2:] for name in replay.absent if name[0] != "s"} == want
    for name, column in replay.game.frames.columns.items():
        if name == "absent":
            bits = {SCHEMA.absent_bit(SCHEMA.field(lacking)) for lacking in replay.absent}
            assert (column == sum(bits & {8, 16, 32})).all()
        elif name not in (*replay.absent, "p.charge"):  # it depends on hitlag
            np.testing.assert_array_equal(column, game.frames[name], err_msg=name)


def test_dev_builds_whose_payloads_do_not_fit_their_version() -> None:
    """Files labelled 3.17 with stage events exist; the payload table counts, not the label."""
    game = make_game(5, length=60, stage=Stage.FOUNTAIN_OF_DREAMS, moving_stage=True)
    data = write_slp(game)
    start = slp.scan(data).start
    data = data[: start + 1] + bytes([3, 17, 0]) + data[start + 4 :]
    assert_prefix(read_replay(data).game.frames, game.frames, at_least=60)


def test_damage_in_the_header_that_frames_do_not_need() -> None:
    """Broken UCF settings, language or name bytes make peppi refuse the file; its frames are
    sound."""
    start = slp.scan(DATA).start
    for offset in (0x141, 0x148, 0x2BD):
        data = DATA[: start + offset] + b"\xff" + DATA[start + offset + 1 :]
        assert_prefix(read_replay(data).game.frames, WHOLE.frames, at_least=len(WHOLE.frames))


def test_two_rolled_back_versions_of_a_frame() -> None:
    """Rows repeat, step back, and the last version counts; in the strict and in the repaired
    route."""
    first, second = make_game(8, length=60), make_game(9, length=60)
    for game in (first, second):
        game.frames["p.stock"][:] = 4
    one, two = write_slp(first), write_slp(second)
    start, stop = slp.scan(one).start, slp.scan(one).stop
    marks = [position for code, position in event_positions(one) if code == events.FRAME_START]
    other = [position for code, position in event_positions(two) if code == events.FRAME_START]
    raw = (
        events.payload_table(events.SIZES_3_16)
        + one[start : marks[40]]
        + two[other[35] : other[45]]
        + one[marks[45] : stop]
    )
    for data, route in (
        (events.container(raw, b"{}"), Route.STRICT),
        (events.container(raw, b"{}")[:-3], Route.REPAIRED),
    ):
        replay = read_replay(data)
        assert replay.route is route
        x = replay.game.frames["p.x"]
        np.testing.assert_array_equal(x[:35], first.frames["p.x"][:35])
        np.testing.assert_array_equal(x[35:45], second.frames["p.x"][35:45])
        np.testing.assert_array_equal(x[45:], first.frames["p.x"][45:])
        np.testing.assert_array_equal(
            read_replay(data, version="first").game.frames["p.x"][:40], first.frames["p.x"][:40]
        )


@pytest.mark.parametrize("name", ["items", "nana", "peppi/v3.16.slp"])
def test_repaired_real_files_are_what_peppi_reads(
    real_replay: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    """Repairing a sound file changes nothing that peppi-py's public classes show."""
    path = tmp_path / "repaired.slp"
    path.write_bytes(repair(real_replay(name).read_bytes()).data)
    before = peppi_py.read_slippi(str(real_replay(name))).frames
    after = peppi_py.read_slippi(str(path)).frames
    assert before.id.equals(after.id)
    for port in range(2):
        assert before.ports[port].leader.post == after.ports[port].leader.post
        assert before.ports[port].leader.pre == after.ports[port].leader.pre


def test_range_checks_catch_what_the_game_cannot_do() -> None:
    columns = {name: column.copy() for name, column in WHOLE.frames.columns.items()}
    columns["p.stock"][:60], columns["p.stock"][60:] = 1, 2
    with pytest.raises(ReplayError, match="gained a stock"):
        read_replay(write_slp(Game(WHOLE.info, Frames(columns))))


def test_one_value_that_the_game_cannot_produce_spoils_one_frame() -> None:
    """Masked by what was there before, counted, and no label; a few are a game, many are not."""
    pres = [position for code, position in event_positions(DATA) if code == events.PRE]
    for value in (float("nan"), float("inf"), 1.5):
        bad = bytearray(DATA)
        for count, place in enumerate(pres[40::6], 1):
            bad[place + 25 : place + 29] = struct.pack(">f", value)
            if count <= 3:
                got = read_replay(bytes(bad)).game.frames
                assert len(spoiled_rows(got)) == count
                assert SCHEMA.check(got) == []
                (row, *_), x = spoiled_rows(got), WHOLE.frames["c.main_x"]
                assert (got["c.main_x"][row] == x[row - 1]).any()
            else:
                with pytest.raises(ReplayError) as caught:
                    read_replay(bytes(bad))
                assert caught.value.reason is Reason.OUT_OF_RANGE
                break
