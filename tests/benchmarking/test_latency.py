"""Timing with clocks that tell what they are told; floors, profiles and judgement by hand."""

import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from exphil_tf import benchmark
from exphil_tf.benchmarking import (
    frame_timing,
    host,
    latency,
    latency_report,
    op_profile,
    roofline,
)
from exphil_tf.benchmarking.frame_timing import Calls, Cell, Clocks, Rounds, Timing
from exphil_tf.benchmarking.latency_report import Floor, LatencyReport
from exphil_tf.benchmarking.live_timing import LiveTiming
from exphil_tf.benchmarking.op_profile import NodePrice, OpTime, Profile
from exphil_tf.evaluation.episodes import Perspective
from exphil_tf.exporting.publishing import publish
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.session import open_session, session_options
from tests.data.conftest import write_games
from tests.exported_policies import export, make_policy

# -- Timing ----------------------------------------------------------------------------------------


class Clock:
    """Nanoseconds that pass only when somebody lets them."""

    def __init__(self):
        self.wall = self.cpu = 10**9
        self.clocks = Clocks(lambda: self.wall, lambda: self.cpu)

    def pass_(self, wall, cpu=0):
        self.wall += wall
        self.cpu += cpu


def test_only_the_call_is_timed():
    clock, order = Clock(), []

    def prepare(index):
        order.append(index)
        clock.pass_(500_000, 400_000)

    def call():
        order.append("call")
        clock.pass_(1_500 * len(order), 700)

    calls = frame_timing.time_calls(call, [7, 8, 9], prepare=prepare, clocks=clock.clocks)
    assert order == [7, "call", 8, "call", 9, "call"]
    np.testing.assert_array_equal(calls.wall, [3.0, 6.0, 9.0])
    np.testing.assert_array_equal(calls.cpu, [0.7, 0.7, 0.7])


def test_figures_of_rounds():
    first, second = np.arange(1.0, 101.0), np.full(100, 10.0)
    rounds = Rounds(
        [Calls(first, first / 2), Calls(second, second)],
        [np.array([4.0, 6.0]), np.array([5.0])],
        preemptions=3,
    )
    timing = rounds.result()
    assert (timing.calls, timing.max, timing.preemptions) == (200, 100.0, 3)
    assert timing.round_p50s == (50.5, 10.0)
    assert (timing.p50, timing.best_p50, timing.ort_p50, timing.packing) == (10.0, 10.0, 5.0, 5.0)
    # The 198th and 199th of 200 are 98 and 99.
    assert timing.p99 == pytest.approx(98.01, abs=0.02)
    assert timing.cpu_p99 == pytest.approx(49.0, abs=0.02)


def timed(*round_p50s, p99=500.0):
    p50 = float(np.median(round_p50s))
    return Timing(
        calls=100, p50=p50, p99=p99, max=2 * p99, cpu_p99=p99, round_p50s=round_p50s,
        ort_p50=p50 - 20, preemptions=0,
    )  # fmt: skip


def test_forms_are_compared_round_by_round():
    """A machine that slows down halfway slows down both."""
    assert timed(300.0, 600.0, 330.0).times(timed(150.0, 300.0, 150.0)) == 2.0


def perspective(length, *, first=0):
    places = np.arange(first, first + length)
    columns = {"frame": places.astype(np.int32), "p.x": np.stack([places, -places], 1) / 2}
    return Perspective(columns, np.zeros((length, 6), np.uint8))


def test_frames_are_consecutive_in_each_row():
    frames = frame_timing.frames_of([perspective(60), perspective(40, first=60)], 4)
    found = np.stack([frame["frame"] for frame in frames])
    assert found.shape == (100, 4)
    np.testing.assert_array_equal((np.diff(found, axis=0)) % 100, 1)
    np.testing.assert_array_equal(found[0], [0, 25, 50, 75])
    np.testing.assert_array_equal(frames[3]["p.x"][1], [14.0, -14.0])
    assert len(frame_timing.frames_of([perspective(5)], 256)) == 5
    with pytest.raises(ValueError, match="want at least one frame"):
        frame_timing.frames_of([perspective(0)], 1)


# -- The floor -------------------------------------------------------------------------------------


def test_weight_bytes_leave_out_tables_that_are_looked_up():
    constants = {
        "table": np.zeros((50, 8), np.float32),
        "kernel": np.zeros((8, 16), np.int8),
        "scale": np.zeros(16, np.float32),
    }
    extra = helper.make_node(
        "Constant", [], ["bias"], value=numpy_helper.from_array(np.zeros(16, np.float32))
    )
    graph = helper.make_graph(
        [
            extra,
            helper.make_node("Gather", ["table", "id"], ["x"]),
            helper.make_node("DequantizeLinear", ["kernel", "scale"], ["k"], axis=1),
            helper.make_node("Gemm", ["x", "k", "bias"], ["y"]),
        ],
        "weights",
        [helper.make_tensor_value_info("id", TensorProto.INT32, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model)
    assert roofline.weight_bytes(model.SerializeToString()) == 8 * 16 + 16 * 4 + 16 * 4


def test_floor_of_a_form():
    found = Floor(weight_bytes=2_000_000, overhead_us=3.0, cache_gb_per_s=50.0, dram_gb_per_s=10.0)
    assert (found.warm_us, found.cold_us) == (43.0, 203.0)


def test_bandwidth_and_overhead_are_measured():
    found = roofline.read_bandwidth(1 << 20)
    assert found.num_bytes == 1 << 20
    assert 1e8 < found.cache < 1e13 and 1e8 < found.dram < 1e13
    assert 0 < roofline.call_overhead_us(200) < 1e5


def test_the_fastest_pass_counts():
    clock, took = Clock(), iter([9_000, 4_000, 6_000, 8_000])
    fastest = roofline.fastest_s(lambda: clock.pass_(next(took)), passes=4, clock=clock.clocks.wall)
    assert fastest == pytest.approx(4e-6)


# -- The profile -----------------------------------------------------------------------------------


def event(op, name, dur, cat="Node"):
    return {"cat": cat, "name": f"{name}_kernel_time", "dur": dur, "args": {"op_name": op}}


def test_a_profile_by_hand():
    """Two frames of a product and two additions; an addition once loses its core."""
    frames = 8
    events = [event("MatMul", "m", 30.0)] * frames
    events += [event("Add", "a", 3.0)] * (frames - 1) + [event("Add", "a", 4000.0)]
    events += [event("Add", "b", 5.0)] * frames
    events += [event("Add", "b", 77.0, cat="Session"), {"cat": "Node", "name": "a_fence_before"}]
    found = op_profile.summarise(events, calls=frames, price=NodePrice(plain=0.5, profiled=3.0))
    # 30 - 3 + 0.5; then 0.5 and 5 - 3 + 0.5.
    assert found == (OpTime("MatMul", 1, 27.5, 27.5 / 30.5), OpTime("Add", 2, 3.0, 3.0 / 30.5))
    assert Profile(found, price_us=0.5).operations == 3
    assert op_profile.summarise([], calls=1, price=NodePrice(0, 0)) == ()


def test_the_chain_is_not_folded(tmp_path):
    session = open_session(op_profile.chain(100), session_options(profile=tmp_path / "chain"))
    session.run(None, {"x": np.zeros((1, 32), np.float32)})
    events = json.loads(Path(session.end_profiling()).read_text())
    (only,) = op_profile.summarise(events, calls=1, price=NodePrice(0.0, 0.0))
    assert (only.op, only.count) == ("Add", 100)
    assert op_profile.node_price(calls=5).profiled > 0


# -- The machine -----------------------------------------------------------------------------------


def test_machine_is_described(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "model name\t: Fast 9000\nflags\t\t: fpu avx2 avx512_vnni\n\nmodel name\t: Other\n"
    )
    for name, texts in {
        "index0": {"level": "1", "type": "Data", "size": "48K"},
        "index2": {"level": "2", "type": "Unified", "size": "2M"},
    }.items():
        folder = tmp_path / "sys/devices/system/cpu/cpu0/cache" / name
        folder.mkdir(parents=True)
        for part, text in texts.items():
            (folder / part).write_text(f"{text}\n")
    found = host.describe(tmp_path)
    assert found["processor"] == "Fast 9000"
    assert found["integer_instructions"] == ["avx2", "avx512_vnni"]
    assert found["caches"] == {"L1 data": "48K", "L2 unified": "2M"}
    assert host.last_cache_bytes(tmp_path) == 2 << 20
    assert set(found["versions"]) == {"numpy", "onnxruntime", "onnx"}
    json.dumps(found)


def test_an_unknown_machine_is_described_too(tmp_path):
    assert host.describe(tmp_path)["integer_instructions"] == []
    assert host.last_cache_bytes(tmp_path) == 32 << 20


# -- The report ------------------------------------------------------------------------------------

PRECISIONS = {"f": "float32", "q": "int8-qat", "d": "int8-dynamic"}


def made(*, q=(150.0, 170.0), p99=500.0, is_busy=False, weight_bytes=1_000_000):
    floors = {
        "f": Floor(4_000_000, 3.0, 80.0, 20.0),
        "q": Floor(weight_bytes, 3.0, 80.0, 20.0),
        "d": Floor(1_000_000, 3.0, 80.0, 20.0),
    }
    warm = {
        Cell("f", 1, 1): timed(300.0, 340.0),
        Cell("q", 1, 1): timed(*q, p99=p99),
        Cell("d", 1, 1): timed(200.0, 220.0),
        Cell("q", 2, 8): timed(400.0),
    }
    return LatencyReport(
        machine=host.describe(),
        load=(0.1, 0.9),
        is_busy=is_busy,
        precisions=PRECISIONS,
        floors=floors,
        warm=warm,
        cold={Cell("q", 1, 1): timed(600.0)},
        paced={Cell("q", 1, 1): timed(700.0)},
        profiles={"q": Profile((OpTime("MatMul", 4, 50.0, 1.0),), 0.5)},
    )


def test_live_play_is_judged_by_processor_time():
    report = dataclasses.replace(
        made(q=(150.0, 170.0)),
        live={
            form: LiveTiming(10, 900.0, 9000.0, 9000.0, 500.0, p99, {"read": 1.0})
            for form, p99 in (("f", 1999.0), ("d", 2001.0))
        },
    )
    text = "p99 of a live frame in processor µs at most"
    found = {check.form: check.is_met for check in report.checks() if check.what == text}
    assert found == {"f": True, "d": False}


def missed(report):
    return [check.what.split(",")[0] for check in report.checks() if not check.is_met]


def test_only_the_shipped_form_is_judged_by_the_run_s_own_rounds():
    report = made(q=(150.0, 170.0), weight_bytes=4_400_000)
    assert {check.form for check in report.checks()} == {"q"}
    assert len(report.checks()) == 5 and not missed(report)
    values = [check.value for check in report.checks()]
    # p50; p99; 160 / (3 + 55); rounds against float's; rounds against dynamic's.
    assert values[:2] == [160.0, 500.0]
    assert values[2:] == pytest.approx([160 / 58, 2.0, (150 / 200 + 170 / 220) / 2])
    assert missed(made(q=(150.0, 170.0))) == ["p50 in floors at most"]
    slow = made(q=(230.0, 230.0), p99=700.0)
    assert missed(slow) == [
        "p50 in µs at most",
        "p99 in µs at most",
        "p50 in floors at most",
        "times as fast as f",
        "times as long as d",
    ]


def test_report_as_table_json_and_picture(tmp_path):
    report = made(is_busy=True)
    text = io.StringIO()
    latency_report.show(Console(file=text, width=140), report)
    shown = text.getvalue()
    for part in (
        "others are using this machine", "~160", "with empty caches", "merely running 4",
        " ! q: p50 in floors at most 3", " + q: times as fast as f, at least 1.5: 2",
    ):  # fmt: skip
        assert part in shown, part
    text = io.StringIO()
    latency_report.show(Console(file=text, width=140), made())
    assert "~" not in text.getvalue()
    paths = latency_report.write(report, tmp_path / "new")
    assert [path.name for path in paths] == ["latency.json", "latency.png"]
    plain = json.loads(paths[0].read_text())
    assert plain["format"] == 1 and plain["is_busy"] is True
    assert plain["floors"]["q"]["warm_us"] == pytest.approx(15.5)
    row = next(row for row in plain["warm"] if row["threads"] == 2)
    assert (row["form"], row["batch_size"], row["p50"]) == ("q", 8, 400.0)
    assert plain["cold"][0]["p50"] == 600.0
    assert plain["paced"][0]["p50"] == 700.0
    assert plain["profiles"]["q"]["ops"][0]["op"] == "MatMul"
    assert [check["is_met"] for check in plain["checks"]] == [True, True, False, True, True]
    assert paths[1].read_bytes().startswith(b"\x89PNG")


# -- The command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A policy in two forms, and one with a fixed batch."""
    folder = tmp_path_factory.mktemp("bundles")
    policy = make_policy("mlp")
    for name, precision, batch_size in (
        ("float", "float32", None),
        ("dynamic", "int8-dynamic", None),
        ("fixed", "float32", 2),
    ):
        made = export(policy, precision, batch_size=batch_size, folder=folder / name)
        publish(made, {"forms": {}})
    return folder


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """A dataset with games of its train split."""
    return write_games(tmp_path_factory.mktemp("games"), (80,), perspectives=[3]).folder


def run(folder, *names, **flags):
    arguments = ["latency", *(str(folder / name) for name in names), "--split", "train"]
    for name, value in flags.items():
        words = [f"--{name.replace('_', '-')}", *([] if value is True else value.split())]
        arguments += words
    assert benchmark.main(arguments) == 0


def cells(rows):
    return [(row["form"], row["threads"], row["batch_size"], row["calls"]) for row in rows]


def test_the_command_times_what_it_is_asked_for(bundles, games, tmp_path, capsys):
    output = tmp_path / "figures"
    run(
        bundles, "float", "dynamic", threads="1 2", batch_sizes="1 3", frames="10", cold=True,
        paced=True, profile=True, data=str(games), output=str(output),
    )  # fmt: skip
    plain = json.loads((output / "latency.json").read_text())
    assert cells(plain["warm"]) == [
        (form, threads, batch, 10)
        for batch in (1, 3)
        for threads in (1, 2)
        for form in ("float", "dynamic")
    ]
    assert cells(plain["cold"]) == [("float", 1, 1, 1), ("dynamic", 1, 1, 1)]
    assert cells(plain["paced"]) == cells(plain["cold"])
    for row in plain["warm"] + plain["cold"] + plain["paced"]:
        assert 0 < row["p50"] <= row["p99"] <= row["max"]
        assert row["ort_p50"] > 0 and all(math.isfinite(p50) for p50 in row["round_p50s"])
    assert plain["precisions"] == {"float": "float32", "dynamic": "int8-dynamic"}
    assert set(plain["profiles"]) == {"float", "dynamic"}
    ops = {op["op"]: op["count"] for op in plain["profiles"]["dynamic"]["ops"]}
    assert ops["DynamicQuantizeMatMul"] > 1
    assert plain["floors"]["float"]["weight_bytes"] > 2 * plain["floors"]["dynamic"]["weight_bytes"]
    shown = capsys.readouterr().out
    assert f"wrote {output / 'latency.png'}" in shown
    assert "at 60 calls a second" in shown
    assert "with empty caches" in shown and "operations of a frame, dynamic" in shown


def test_a_fixed_batch_is_timed_at_that_batch_only(bundles, games, tmp_path):
    run(
        bundles, "fixed", threads="1", batch_sizes="1 2", frames="4", profile=True, cold=True,
        data=str(games), output=str(tmp_path),
    )  # fmt: skip
    plain = json.loads((tmp_path / "latency.json").read_text())
    assert cells(plain["warm"]) == [("fixed", 1, 2, 4)]
    assert plain["profiles"] == {} and plain["cold"] == []


def test_without_a_dataset_sample_games_are_played(bundles, tmp_path, capsys):
    run(
        bundles, "float", "fixed", threads="1", batch_sizes="1", frames="40", live=True,
        output=str(tmp_path),
    )  # fmt: skip
    plain = json.loads((tmp_path / "latency.json").read_text())
    assert cells(plain["warm"]) == [("float", 1, 1, 40)]
    live = plain["live"]["float"]
    assert set(plain["live"]) == {"float"}, "one row is what live play has"
    assert live["frames"] == 4 and 0 < live["p50"] <= live["p99"] <= live["max"]
    assert set(live["parts"]) == {"read", "agent", "send"} and min(live["parts"].values()) > 0
    assert "live play, one game" in capsys.readouterr().out


def test_mistakes_are_told_in_a_sentence(bundles, games, tmp_path):
    def told(*argv):
        with pytest.raises(UserError) as caught:
            benchmark.main(list(argv))
        return str(caught.value), caught.value.exit_code

    one = str(bundles / "float")
    assert told() == (
        "want a subject first, one of preprocess, input, training, layers, latency, architectures, "
        "simulator, playing. Received: nothing. See `python -m exphil_tf.benchmark --help`.",
        2,
    )
    assert "Received: memory" in told("memory", one)[0]
    assert "BUNDLES: want a list of paths" in told("latency")[0]
    assert "want each once" in told("latency", one, one)[0]
    assert told("latency", str(tmp_path / "none"))[1] == 66
    assert told("latency", one, "--data", str(tmp_path / "none"))[1] == 66
    (tmp_path / "empty").mkdir()
    assert told("latency", one, "--data", str(tmp_path / "empty"))[1] == 66
    told_of_split, code = told("latency", one, "--data", str(games))
    assert "no games in split 'validation'" in told_of_split and code == 66
    for flag, value in (("--threads", "0"), ("--batch-sizes", "-1"), ("--frames", "0")):
        assert "want at least 1" in told("latency", one, flag, value)[0]
    assert benchmark.main(["--help"]) == 0
    for subject in ("latency", "input"):
        with pytest.raises(SystemExit):
            benchmark.main([subject, "--help"])


def test_paced_calls_begin_with_frames():
    """Sixty a second, whatever a call takes; a call that takes longer misses some."""
    now_s, begun = 100.0, []

    def sleep(seconds):
        nonlocal now_s
        assert 0 < seconds <= 1 / 60
        now_s += seconds

    pause = frame_timing.pacer(clock=lambda: now_s, sleep=sleep)
    for took_s in (0.001, 0.016, 0.001, 0.040, 0.0):
        pause()
        begun.append((now_s - 100.0) * 60)
        now_s += took_s
    assert begun == pytest.approx([1, 2, 3, 4, 7])


def test_windows_are_refused(tmp_path):
    window = export(make_policy("mlp"), frames=2, folder=tmp_path / "window")
    publish(window, {})
    with pytest.raises(UserError, match="holds a window, and only steps are timed"):
        latency.open_bundles([tmp_path / "window"])
