"""Readings and their levels: windows, thresholds, and what the controller's report says in every state."""

import numpy as np
import pytest
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.control.controller import Controller
from beingh_core.control.stop_causes import STOP_SERVICE, TRACKING_ERROR
from beingh_core.control.tick_thread import TickThread
from beingh_core.control.timing import SteadyTime
from beingh_core.inference.chunk_schedule import ChunkSchedule
from beingh_core.inference.inference_thread import InferenceThread
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.realtime.clock import parse_epoch
from beingh_core.realtime.commit_buffer import Chunk
from beingh_core.realtime.samples import Samples
from beingh_ros.messages import thresholds
from beingh_ros.messages.diagnostics import ERROR, OK, WARN
from beingh_ros.messages.thresholds import RECENT_S, RecentCounts, Threshold, worst
from beingh_ros.nodes.controller_report import ControllerReport
from beingh_ros.nodes.policy_report import PolicyReport

FR3 = load_contract("fr3")
HOME = dict(zip(FR3.joint_names, FR3.home))
H, D, DT_NS = FR3.policy.chunk_length, FR3.uac.delay_steps, 1e9 / FR3.rate_hz


def test_samples_keep_the_newest_and_are_told_oldest_first():
    samples = Samples(keep=5)
    assert samples.summary("x", (50,)) == {} and samples.newest(3).size == 0
    for value in range(8):
        samples.add(value)
        assert samples.newest(3).tolist() == list(range(max(0, value - 2), value + 1))
    assert samples.newest(99).tolist() == [3, 4, 5, 6, 7]
    assert samples.summary("x", (50, 100)) == {"x_p50": 5.0, "x_p100": 7.0, "x_max": 7.0}


def test_recent_counts_forget_what_is_long_past():
    recent = RecentCounts()
    assert recent(0.0, {"a": 100}) == {"a": 0}
    assert recent(1.0, {"a": 103, "b": 1}) == {"a": 3, "b": 1}
    for second in range(2, 40):
        grown = recent(float(second), {"a": 103, "b": 1})
    assert grown == {"a": 0, "b": 0} and len(recent._seen) <= RECENT_S + 2


def test_a_reading_is_fine_up_to_its_bound_and_the_worst_is_told_first():
    threshold = Threshold(warn=10.0, error=50.0, unit="%", text="{value:.0f} % off", remedy="turn it")
    assert threshold.judge(None) == threshold.judge(10.0) == []
    assert threshold.judge(10.1) == [(thresholds.WARN, "10 % off: turn it")]
    assert threshold.judge(50.1)[0][0] == thresholds.ERROR
    assert worst([], "fine") == (thresholds.OK, "fine")
    assert worst([(1, "a"), (2, "b")], "fine") == (2, "b; a")


def test_every_threshold_is_in_the_document():
    text = (ROOT / "docs" / "watching.md").read_text()
    rows = {name: value for name, value in vars(thresholds).items() if isinstance(value, Threshold)}
    assert len(rows) >= 10
    for name, row in rows.items():
        error = "never" if row.error is None else f"> {row.error:g}"
        assert f"| > {row.warn:g} | {error} | {row.unit} |" in text, name


class Bench:
    """A controller and its report on a virtual clock."""

    def __init__(self, dry_run=False):
        self.now_ns = 1_000_000_000_000
        self.controller = Controller(FR3, joint_state_timeout_s=1.0, max_late_ticks=2.0, watch_tracking=False)
        self.ticks = TickThread(self.controller, SteadyTime(), send=None, publish=None, fail=None)  # never started
        self.report = ControllerReport(FR3, self.controller, self.ticks, dry_run=dry_run)

    def start(self):
        for _ in range(6):  # at rest for long enough
            self.now_ns += round(DT_NS)
            self.controller.joint_state(self.now_ns, HOME)
        return self

    def tick(self, count=1, late_ms=0.0):
        for _ in range(count):
            self.controller.joint_state(self.now_ns, HOME)
            self.now_ns = self.controller.next_tick_ns()
            self.controller.tick(self.now_ns)
            self.ticks.periods_ms.add(50.0)
            self.ticks.lateness_ms.add(late_ms)
        return self

    def chunk(self, ago=0, joints=FR3.joint_names, rise=0.0):
        """A chunk whose base tick is `ago` ticks before the next one."""
        next_ns, epoch = self.controller.next_tick_ns(), self.controller.status.epoch
        stamp_ns = round(next_ns - ago * DT_NS)
        base = round((stamp_ns - parse_epoch(epoch)[1]) / DT_NS)
        rows = np.array([FR3.home] * H)
        rows[:, :4] += rise * np.arange(H)[:, None]
        chunk = Chunk(base_tick=base, epoch=epoch, joints=joints, positions=rows, dt_s=FR3.dt_s)
        self.report.merged(self.controller.merge(chunk), epoch, stamp_ns)
        return self

    def look(self, rivals=()):
        level, text, values = self.report(rivals)
        return level, text, values


def test_a_controller_that_waits_runs_stops_is_told_with_its_level():
    bench = Bench()
    level, text, values = bench.look()
    assert level == WARN and "waiting for joint states" in text and values["state"] == "waiting"
    assert bench.start().tick().look()[:2] == (OK, "running")
    bench.controller.stop(TRACKING_ERROR, "tracking error of 0.4 rad", bench.now_ns)
    level, text, _ = bench.look()
    assert level == ERROR and "tracking error" in text
    asked = Bench().start().tick()
    asked.controller.stop(STOP_SERVICE, "stop service", asked.now_ns)
    assert asked.look()[0] == WARN
    assert Bench(dry_run=True).start().tick().look()[:2] == (OK, "running (dry run: nothing is sent)")


def test_another_commander_is_an_error():
    level, text, values = Bench().start().tick().look(rivals=["/arm/command"])
    assert level == ERROR and "/arm/command" in text and values["rivals"] == "/arm/command"


def test_buffer_depth_counts_the_steps_left_and_running_dry_is_a_warning():
    bench = Bench().start().tick(3)
    assert bench.look()[2]["buffer_depth"] == 0 and bench.look()[0] == OK  # no policy yet
    bench.chunk(ago=2)
    assert bench.look()[2]["buffer_depth"] == H - 2
    assert bench.tick(4).look()[2]["buffer_depth"] == H - 6
    level, text, values = bench.tick(H).look()
    assert level == WARN and values["buffer_depth"] == 0 and "run out" in text


def test_late_chunks_useless_chunks_and_clips_raise_the_level_and_recover(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("beingh_ros.nodes.controller_report.time.monotonic", lambda: clock[0])

    def look(bench):
        clock[0] += 1.0
        return bench.look()

    bench = Bench().start().tick(H + 4)
    look(bench)
    assert look(bench.chunk(ago=2))[0] == OK
    level, text, values = look(bench.tick(5).chunk(ago=D + 1))
    assert level == WARN and "50 % of the chunks are late" in text and values["late"] == 1
    level, text, _ = look(bench.tick(3).chunk(rise=1.0))
    assert level == WARN and "limits change" in text
    for _ in range(4):
        level, text, values = look(bench.tick(2 * H).chunk(ago=H + 2))
    assert level == ERROR and "all of their steps have passed" in text and values["useless"] == 4
    for _ in range(int(RECENT_S) + 2):
        level, text, _ = look(bench.tick(4).chunk(ago=1))
    assert (level, text) == (OK, "running")


def test_refused_chunks_are_a_warning():
    bench = Bench().start().tick(3)
    bench.look()
    level, text, values = bench.chunk(joints=("other", *FR3.joint_names[1:])).look()
    assert level == ERROR and "100 % of the chunks are refused" in text and values["refused"] == 1


@pytest.mark.parametrize("late_ms, level", [(4.0, OK), (6.0, WARN), (26.0, ERROR)])
def test_ticks_that_are_sent_late_raise_the_level(late_ms, level):
    bench = Bench().start().tick(20, late_ms=late_ms)
    found, _, values = bench.look()
    assert found == level and values["tick_rate_hz"] == pytest.approx(20.0) and values["tick_jitter_ms"] == 0.0


class Maker:
    """Never asked for a chunk: nothing is ever received."""

    prefetch = False

    def closed(self, _now_ns):
        return []


@pytest.fixture
def inference():
    inputs, schedule = PolicyInputs(FR3), ChunkSchedule(FR3, trained_delay=8)
    thread = InferenceThread(inputs, schedule, Maker(), publish=None, fail=None, now_ns=lambda: 1)
    yield inputs, schedule, thread
    thread.close()


@pytest.mark.parametrize(
    "latency_ms, failures, unreached, reasons, level, words",
    [
        (150.0, 0, 0, [], OK, "inferring"),
        (300.0, 0, 0, [], WARN, "120 % of the time that is planned"),
        (600.0, 0, 0, [], ERROR, "240 % of the time"),
        (150.0, 2, 0, [], WARN, "17 % of the inferences fail"),
        (150.0, 20, 0, [], ERROR, "67 % of the inferences fail"),
        (150.0, 0, 4, [], WARN, "cannot reach 25 % of the steps"),
        (150.0, 0, 0, [("video.a", "stale")], WARN, "gate closed: video.a: stale"),
    ],
)
def test_what_the_policy_says_of_its_inference(inference, latency_ms, failures, unreached, reasons, level, words):
    inputs, schedule, thread = inference
    report = PolicyReport(FR3, inputs, {"checkpoint": "x"})
    level_closed, text, _ = report.inference(thread, schedule, Samples())
    assert level_closed == WARN and "video.scene_view: missing" in text and "the node is not active" in text
    thread.closed = lambda: reasons
    for _ in range(10):
        thread.chunks += 1
        thread.unreached += unreached
        thread.latency_ms.add(latency_ms)
    thread.failures = failures
    found, text, values = report.inference(thread, schedule, Samples())
    assert found == level and words in text
    assert values["latency_ms_p50"] == latency_ms and values["chunks"] == 10


def test_a_stream_is_missing_fresh_lossy_old_or_stale():
    inputs, name = PolicyInputs(FR3), "video.scene_view"
    report = PolicyReport(FR3, inputs, {})
    assert report.stream(name, 0, "reliable")[0] == ERROR
    stamps = [50_000_000 * i for i in range(1, 61)]
    for stamp_ns in stamps[:30]:
        inputs.push_image(name, stamp_ns, np.zeros((2, 2, 3), np.uint8))
    level, text, values = report.stream(name, stamps[29] + 10_000_000, "reliable")
    assert (level, text) == (OK, "fresh") and values["rate_hz"] == pytest.approx(20.0) and values["jitter_ms"] == 0.0
    assert report.stream(name, stamps[29] + 220_000_000, "reliable")[0] == WARN  # of 250 ms
    level, text, _ = report.stream(name, stamps[29] + 300_000_000, "reliable")
    assert level == ERROR and "stale" in text
    for stamp_ns in (stamp for i, stamp in enumerate(stamps[30:]) if i % 3 != 1):
        inputs.push_image(name, stamp_ns, np.zeros((2, 2, 3), np.uint8))
    level, text, values = report.stream(name, stamps[58] + 10_000_000, "reliable")
    assert level == WARN and "% are lost" in text and values["lost"] >= 9
