"""Timing with clocks that tell what they are told; floors, profiles and judgement by hand."""

import dataclasses
import io
import itertools
import json
import math
import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from exphil_tf import benchmark
from exphil_tf.benchmarking import (
    host,
    latency,
    latency_report,
    latency_turns,
    op_profile,
    roofline,
)
from exphil_tf.benchmarking.latency import Calls, Cell, Timing
from exphil_tf.benchmarking.latency_report import Floor, LatencyReport
from exphil_tf.benchmarking.op_profile import NodePrice, OpTime, Profile
from exphil_tf.evaluation.episodes import Perspective
from exphil_tf.exporting.publishing import publish
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import open_bundle
from tests.data.conftest import write_games
from tests.exported_policies import export, make_policy

# -- Timing ----------------------------------------------------------------------------------------


class Clock:
    """Nanoseconds that pass only when somebody lets them."""

    def __init__(self, monkeypatch):
        self.wall = self.cpu = 10**9
        clocks = {"perf_counter_ns": lambda: self.wall, "thread_time_ns": lambda: self.cpu}
        for module in (latency, roofline, op_profile):
            monkeypatch.setattr(module, "time", SimpleNamespace(**clocks))

    def pass_(self, wall, cpu=0):
        self.wall += wall
        self.cpu += cpu


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_only_the_call_is_timed(clock):
    order = []

    def prepare(index):
        order.append(index)
        clock.pass_(500_000, 400_000)

    def call():
        order.append("call")
        clock.pass_(1_500 * len(order), 700)

    calls = latency.time_calls(call, [7, 8, 9], prepare=prepare)
    assert order == [7, "call", 8, "call", 9, "call"]
    np.testing.assert_array_equal(calls.wall, [3.0, 6.0, 9.0])
    np.testing.assert_array_equal(calls.cpu, [0.7, 0.7, 0.7])


def test_figures_of_rounds():
    first, second = np.arange(1.0, 101.0), np.full(100, 10.0)
    rounds = latency._Rounds(
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
    frames = latency.frames_of([perspective(60), perspective(40, first=60)], 4)
    found = np.stack([frame["frame"] for frame in frames])
    assert found.shape == (100, 4)
    np.testing.assert_array_equal((np.diff(found, axis=0)) % 100, 1)
    np.testing.assert_array_equal(found[0], [0, 25, 50, 75])
    np.testing.assert_array_equal(frames[3]["p.x"][1], [14.0, -14.0])
    assert len(latency.frames_of([perspective(5)], 256)) == 5
    with pytest.raises(ValueError, match="want at least one frame"):
        latency.frames_of([perspective(0)], 1)


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
    assert 1e8 < roofline._rate(1 << 20) < 1e13
    assert 0 < roofline.call_overhead_us(200) < 1e5


def test_bandwidth_is_that_of_the_fastest_pass(clock, monkeypatch):
    times = iter([9_000, 4_000, 6_000, 8_000] + [5_000] * 4)
    ticks = iter([])

    def tick():
        nonlocal ticks
        value = next(ticks, None)
        if value is None:
            ticks = iter([clock.wall + next(times)])
            return clock.wall
        return value

    monkeypatch.setattr(roofline, "time", SimpleNamespace(perf_counter_ns=tick))
    # 256 MiB in four passes of either loop, the fastest in 4 µs.
    monkeypatch.setattr(roofline.np, "ones", lambda count, dtype: np.zeros(640, np.uint8))
    assert roofline._rate(1 << 28) == pytest.approx(640 / 4e-6)


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


def test_the_chain_is_not_folded(monkeypatch):
    monkeypatch.setattr(op_profile, "CALLS", 5)
    seen = []
    durations = op_profile._durations
    monkeypatch.setattr(
        op_profile, "_durations", lambda events: seen.append(durations(events)) or seen[-1]
    )
    assert op_profile.node_price().profiled > 0
    assert {op for op, _ in seen[0]} == {"Add"} and len(seen[0]) == 100
    assert {len(found) for found in seen[0].values()} == {5}


# -- The machine -----------------------------------------------------------------------------------


def test_machine_is_described(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "model name\t: Fast 9000\nflags\t\t: fpu avx2 avx512_vnni\n\nmodel name\t: Other\n"
    )
    for name, (level, kind, size) in {
        "index0": ("1", "Data", "48K"),
        "index2": ("2", "Unified", "2M"),
    }.items():
        (tmp_path / name).mkdir()
        for part, text in (("level", level), ("type", kind), ("size", size)):
            (tmp_path / name / part).write_text(f"{text}\n")
    monkeypatch.setattr(host, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    found = host.describe()
    assert found["processor"] == "Fast 9000"
    assert found["integer_instructions"] == ["avx2", "avx512_vnni"]
    assert found["caches"] == {"L1 data": "48K", "L2 unified": "2M"}
    assert host.last_cache_bytes() == 2 << 20
    assert set(found["versions"]) == {"numpy", "onnxruntime", "onnx"}
    json.dumps(found)


def test_an_unknown_machine_is_described_too(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    assert host.describe()["integer_instructions"] == []
    assert host.last_cache_bytes() == 32 << 20


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


@pytest.fixture
def quick(monkeypatch):
    """Floors and samples that take no time."""
    monkeypatch.setattr(roofline, "read_bandwidth", lambda n: roofline.Bandwidth(n, 8e10, 2e10))
    monkeypatch.setattr(roofline, "call_overhead_us", lambda: 3.0)
    monkeypatch.setattr(benchmark, "_SAMPLE_GAMES", 1)
    monkeypatch.setattr(benchmark, "_SAMPLE_SECONDS", 20)
    monkeypatch.setattr(host, "last_cache_bytes", lambda: 1 << 16)
    monkeypatch.setattr(latency, "WARM_CALLS", 1)
    monkeypatch.setattr(op_profile, "CALLS", 10)


def run(folder, *names, **flags):
    arguments = ["latency", *(str(folder / name) for name in names)]
    for name, value in flags.items():
        words = [f"--{name.replace('_', '-')}", *([] if value is True else value.split())]
        arguments += words
    assert benchmark.main(arguments) == 0


def cells(rows):
    return [(row["form"], row["threads"], row["batch_size"], row["calls"]) for row in rows]


def test_the_command_times_what_it_is_asked_for(bundles, quick, tmp_path, capsys):
    output = tmp_path / "figures"
    run(
        bundles, "float", "dynamic", threads="1 2", batch_sizes="1 3", frames="10", cold=True,
        paced=True, profile=True, output=str(output),
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


def test_a_fixed_batch_is_timed_at_that_batch_only(bundles, quick, tmp_path):
    run(
        bundles, "fixed", threads="1", batch_sizes="1 2", frames="4", profile=True, cold=True,
        output=str(tmp_path),
    )  # fmt: skip
    plain = json.loads((tmp_path / "latency.json").read_text())
    assert cells(plain["warm"]) == [("fixed", 1, 2, 4)]
    assert plain["profiles"] == {} and plain["cold"] == []


def test_frames_come_from_the_dataset(bundles, quick, tmp_path, monkeypatch):
    games = write_games(tmp_path, (80,), perspectives=[3])
    asked = []
    real = latency_turns._perspectives
    monkeypatch.setattr(
        latency_turns, "_perspectives", lambda data: asked.append(real(data)) or asked[-1]
    )
    monkeypatch.setattr(latency_turns, "_SPLIT", "train")
    run(
        bundles, "float", threads="1", batch_sizes="1", frames="4", data=str(games.folder),
        output=str(tmp_path / "figures"),
    )  # fmt: skip
    assert [len(perspective.actions) for perspective in asked[0]] == [80, 80]


def test_mistakes_are_told_in_a_sentence(bundles, quick, tmp_path):
    def told(*argv):
        with pytest.raises(UserError) as caught:
            benchmark.main(list(argv))
        return str(caught.value), caught.value.exit_code

    one = str(bundles / "float")
    assert told() == (
        "want a subject first, one of preprocess, input, training, latency. Received: nothing. "
        "See `python -m exphil_tf.benchmark --help`.",
        2,
    )
    assert "Received: memory" in told("memory", one)[0]
    assert "bundles: want at least one" in told("latency")[0]
    assert "want each once" in told("latency", one, one)[0]
    assert told("latency", str(tmp_path / "none"))[1] == 66
    assert told("latency", one, "--data", str(tmp_path / "none"))[1] == 66
    (tmp_path / "empty").mkdir()
    assert told("latency", one, "--data", str(tmp_path / "empty"))[1] == 66
    for flag, value in (("--threads", "0"), ("--batch-sizes", "-1"), ("--frames", "0")):
        assert "want at least 1" in told("latency", one, flag, value)[0]
    assert benchmark.main(["--help"]) == 0
    for subject in ("latency", "input"):
        with pytest.raises(SystemExit):
            benchmark.main([subject, "--help"])


def test_paced_calls_begin_with_frames():
    """Sixty a second, whatever a call takes."""
    pause, interval = latency._pacer(), 1 / latency.FRAMES_PER_SECOND
    began, ticks = time.perf_counter(), []
    for _ in range(4):
        pause()
        ticks.append(time.perf_counter() - began)
    # Each sleep ends after a boundary; a slow machine may miss some, but never comes early.
    assert all(b - a > 0 for a, b in itertools.pairwise(ticks))
    assert ticks[-1] > 3 * interval


def test_windows_are_refused(bundles):
    opened = open_bundle(bundles / "float")
    window = dataclasses.replace(
        opened, folder=bundles / "window", config=dataclasses.replace(opened.config, form="window")
    )
    with pytest.MonkeyPatch.context() as p:
        p.setattr(latency_turns, "open_bundle", lambda folder: window)
        with pytest.raises(UserError, match="holds a window, and only steps are timed"):
            latency_turns._open([bundles / "window"])
