"""The benchmarks: their server, their arithmetic, their page, and our own clients at tiny sizes.

Nothing here asserts a time. The modules of ``benchmarks`` are scripts beside each other and no package.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from websockets.sync.client import connect

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bars  # noqa: E402
import burst  # noqa: E402
import figures  # noqa: E402
import harness  # noqa: E402
import idle  # noqa: E402
import large  # noqa: E402
import latency  # noqa: E402
import loop  # noqa: E402
import loops  # noqa: E402
import many  # noqa: E402
import page  # noqa: E402
import parallel  # noqa: E402
import pooled  # noqa: E402
import raw  # noqa: E402
import run  # noqa: E402
import scale  # noqa: E402
import tried  # noqa: E402
import turn  # noqa: E402
import wire  # noqa: E402
from clients import OURS, OURS_HTTP, OURS_ORJSON, available  # noqa: E402
from harness import Measure, Samples, Server, Size, Task, measured, serving  # noqa: E402
from lanes import available_lanes  # noqa: E402
from turns import Turn, encode_lanes, encode_turn  # noqa: E402

from responses_ws._core import parser  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def tracker() -> None:
    """The pipe that multiprocessing keeps until the interpreter ends is left open by no test."""
    resource_tracker.ensure_running()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as where:
        yield where


# --- the server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 70_000])
def test_unmasking_is_that_of_rfc_6455(size):
    """Octet i is combined with octet i modulo 4 of the key."""
    masked, key = bytes(index * 7 % 256 for index in range(size)), b"\x01\x80\xff\x10"
    assert wire.unmask(masked, key) == bytes(octet ^ key[i % 4] for i, octet in enumerate(masked))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_the_server_reads_every_length(size):
    """In the pieces in which it comes; of a long request only the end is unmasked."""
    key, payload = b"\x01\x80\xff\x10", bytes(index % 251 for index in range(size))
    frame = wire.server_frame(payload)
    head = frame[: len(frame) - size]
    masked = bytes([head[0], head[1] | 0x80]) + head[2:] + key + wire.unmask(payload, key)
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as sender:
        sent = sender.submit(theirs.sendall, masked)
        reader = wire.Wire(ours)
        assert reader.message() == payload[-wire.TAIL :]
        sent.result()
        assert reader.received == len(masked)


def test_the_server_answers_pings_inside_a_message():
    """A request in fragments with a ping between them; a close frame ends the connection."""
    zeros = bytes(4)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\x01\x81" + zeros + b"a" + b"\x89\x81" + zeros + b"p" + b"\x80\x81" + zeros + b"b")
        reader = wire.Wire(ours)
        assert reader.message() == b"ab"
        assert theirs.recv(10) == b"\x8a\x01p"
        theirs.sendall(b"\x88\x80" + zeros)
        with pytest.raises(EOFError):
            reader.message()
        assert theirs.recv(10) == b"\x88\x00"


def test_turns_of_a_connection_have_their_own_ids():
    """And are else the same, byte for byte."""
    first, second = (encode_turn(Turn(events=3), ordinal) for ordinal in (0, 1))
    assert first != second
    assert len(first) == len(second)
    assert encode_turn(Turn(events=3), 0) == first


def test_lanes_interleave_event_by_event():
    """Each lane's events carry its ``stream_id``, in turn."""
    encoded = encode_lanes(Turn(events=2, lanes=2), ("a", "b"), 0)
    streams = [part[:1] for part in encoded.split(b'"stream_id":"')[1:]]
    assert streams == [b"a", b"b"] * 10


@pytest.mark.parametrize("turn", [Turn(events=4, rate=50), Turn(calls=2), Turn(size=10, fragment=3, lanes=1)])
def test_a_turn_survives_its_metadata(turn):
    """What a request asks for arrives as it was."""
    assert Turn.of(turn.metadata) == turn


# --- the arithmetic -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(12_345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (0, "0.000")],
)
def test_figures_have_three_digits(value, text):
    assert figures.number(value) == text


def test_a_ratio_is_one_of_medians():
    assert figures.ratio([1, 2, 90], [4, 4, 1]) == 0.5
    assert figures.ratio([3, 1, 2], None) == 2


def test_a_spread_has_the_smallest_and_the_largest():
    assert figures.spread([3, 1, 2]) == "2.00 (1.00 .. 3.00)"


SAMPLES: Samples = {
    "one": {
        "ours": {"cpu": [1, 2, 3], "p50": [9]},
        "peer": {"cpu": [8, 4, 2]},
        "bare socket": {"cpu": [0.5], "p50": [1]},
    },
    "many": {"ours": {"cpu": [3]}},
}


@pytest.mark.parametrize(
    ("fields", "value", "met"),
    [
        ({"client": "ours", "against": "peer", "at_most": 0.5}, 0.5, True),
        ({"client": "ours", "against": "peer", "at_most": 0.49}, 0.5, False),
        ({"client": "ours", "at_most": 2}, 2, True),
        ({"client": "ours", "at_least": 2.5}, 2, False),
        ({"client": "ours", "setting": "many", "against_setting": "one", "at_most": 1.5}, 1.5, True),
        ({"client": "fastest client", "against": "bare socket", "at_least": 3}, 4, True),
        ({"client": "absent", "against": "peer", "at_most": 1}, None, False),
        ({"client": "ours", "against": "absent", "at_most": 1}, None, False),
        ({"client": "peer", "column": "p50", "at_most": 1}, None, False),
    ],
)
def test_a_bar_holds_a_ratio_of_medians(fields, value, met):
    """Of one client to another, of one setting to another, or the figure itself; unmeasured is missed."""
    bar = bars.Bar(**{"measure": "m", "setting": "one", "column": "cpu", **fields})
    (verdict,) = bars.judge([bar], {"m": SAMPLES}, ["m"])
    assert (verdict.value, verdict.met) == (value, met)


def test_bars_of_what_was_not_measured_are_left_out():
    bar = bars.Bar(measure="other", setting="one", column="cpu", client="ours", at_most=1)
    assert bars.judge([bar], {"m": SAMPLES}, ["m"]) == []


@pytest.mark.parametrize("limits", [{}, {"at_most": 1, "at_least": 1}])
def test_a_bar_has_one_limit(limits):
    with pytest.raises(ValueError, match="one of"):
        bars.Bar(measure="m", setting="one", column="cpu", client="ours", **limits)


def test_the_bars_name_what_is_measured():
    """Every setting, client and column of bars.toml belongs to a task of its measure."""
    columns = {name: set(measure.columns) for name, measure in run.MEASURES.items()}
    for bar in bars.load():
        assert bar.column in columns[bar.measure]
        tasks = run.MEASURES[bar.measure].tasks(Server(1, 2, "ca.pem"), Size())
        settings = {task.setting for task in tasks}
        assert {bar.setting, bar.against_setting or bar.setting} <= settings


# --- the page -----------------------------------------------------------------------------------------------


MEASURE = Measure(
    name="m",
    title="A measure",
    about="\nWhat it measures.\n",
    columns={"cpu": "CPU, µs", "p50": "p50, µs"},
    tasks=lambda _server, _size: [],
    against="peer",
)
REPORT = {
    "date": "2026-01-02",
    "machine": {"cpu": "A", "cores": 2, "system": "S", "python": "P", "versions": {"responses_ws": "0"}},
    "rounds": 3,
    "results": {"m": SAMPLES},
}


def test_the_page_is_restructured_text(tmp_path):
    """docutils reads it without a warning, and finds the tables, the drawing and what was tried."""
    (tmp_path / "tried.rst").write_text("What was tried\n--------------\n\nNothing.\n", encoding="utf-8")
    verdicts = bars.judge([bars.Bar("m", "one", "cpu", "ours", "peer", at_most=0.5)], {"m": SAMPLES}, ["m"])
    written = page.write_page(tmp_path, REPORT, [MEASURE], verdicts, {"m": ["m-cpu.svg"]})
    settings = {"halt_level": 2, "report_level": 2, "warning_stream": False}
    tree = publish_doctree(
        written.read_text(encoding="utf-8"), source_path=str(written), settings_overrides=settings
    )
    text = tree.astext()
    for expected in (
        "ours / peer",
        "2.00 (1.00 .. 3.00)",
        "A measure",
        "What it measures.",
        "What was tried",
    ):
        assert expected in text
    assert [node["uri"] for node in tree.findall(lambda node: node.tagname == "image")] == ["m-cpu.svg"]


def test_a_table_keeps_rows_without_a_name():
    assert page.table([["", "a"], ["x", "b"]]).splitlines() == ["=  =", "\\  a", "=  =", "x  b", "=  ="]


def test_a_stored_run_is_judged_again(tmp_path, monkeypatch, capsys):
    """``--from`` prints the tables, and ``--check`` exits with 1 when a bar is missed."""
    results = {"idle": {"200 connections": {OURS: {"cpu": [0.3], "memory": [1.0]}}}}
    stored = tmp_path / "results.json"
    stored.write_text(json.dumps(REPORT | {"results": results}), encoding="utf-8")
    for extra, status in (([], 0), (["--check"], 1)):
        monkeypatch.setattr(sys, "argv", ["run.py", "--only", "idle", "--from", str(stored), *extra])
        assert run.main() == status
        assert "MISSED" in capsys.readouterr().out


# --- our own clients ----------------------------------------------------------------------------------------

OWN = [
    name for name in (OURS, OURS_ORJSON, OURS_HTTP, "websocket-client", "websockets") if name in available()
]
SECURE = pytest.mark.parametrize("secure", [False, True])


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """A client changes its process, which here is that of the tests."""
    for variable in ("SSL_CERT_FILE", "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    orjson = sys.modules.get("orjson")
    monkeypatch.setattr(parser, "_loads", parser._choose)  # which the first message of a process decides
    yield
    if orjson is None:
        sys.modules.pop("orjson", None)
    else:
        sys.modules["orjson"] = orjson


def test_every_round_has_each_client_once(server):
    """And each figure is made in a process of its own."""
    tasks = [Task("one", name, partial(dict, cpu=value)) for name, value in (("a", 5.0), ("b", 7.0))]
    measure = replace(MEASURE, tasks=lambda _server, _size: tasks, rounds=2)
    samples = measured(measure, server, Size(quick=True), rounds=3)
    assert samples == {"one": {"a": {"cpu": [5.0, 5.0]}, "b": {"cpu": [7.0, 7.0]}}}


def test_what_does_not_end_is_an_error(monkeypatch):
    """Of a peer too: what looked like its fault was the server's."""
    monkeypatch.setattr(harness, "PATIENCE", 0.5)
    with pytest.raises(multiprocessing.TimeoutError):
        harness.isolated(signal.pause)


def test_a_ping_holds_up_no_answer_of_the_server(server):
    """A client may ping while all of its lanes wait: then no further request comes before an answer."""
    request = {"type": "response.create", "stream_id": "a", "metadata": Turn(events=1, delay=300).metadata}
    with connect(f"{server.url('ws')}/responses") as ws:
        ws.send(json.dumps(request))
        pong = ws.ping()
        while json.loads(ws.recv(timeout=10))["type"] != "response.completed":
            pass
        assert pong.wait(10)


@pytest.mark.parametrize("client", OWN)
def test_a_client_takes_bursts_and_paced_turns(server, client):
    """Every measure of one connection, whatever the transport; each raises when text is lost."""
    figures_of = {
        "burst": burst.burst(client, server, 20),
        "latency": latency.latency(client, server, 5, 1_000),
        "turn": turn.turn(client, server, 3),
    }
    for name, found in figures_of.items():
        assert found.keys() == run.MEASURES[name].columns.keys()


@SECURE
@pytest.mark.parametrize("fragment", [0, 100])
def test_a_client_takes_large_messages(server, fragment, secure):
    """Whole and in fragments; the answer to one that was sent comes."""
    assert large.received(OURS, server, Turn(size=10_000, fragment=fragment), secure)["wall"] > 0
    assert large.sent(OURS, server, 100_000, secure)["wall"] > 0


def test_continuing_sends_less_than_the_whole_history(server):
    """Each loop runs to its end; the server counts what it was sent."""
    names = [name for name in loops.available() if name.startswith(OURS)]
    sent = {name: loop.tool_loop(name, server, 6)["sent"] for name in names}
    whole = sent["responses_ws, full history"]
    assert sent.pop("responses_ws, continued") < whole / 2
    assert all(0 < count < 1.1 * whole for count in sent.values())


def test_many_connections_and_lanes(server):
    """All deltas of all connections arrive."""
    assert many.many(OURS, server, 3, Turn(events=20)).keys() == {"cpu", "memory"}
    assert idle.idle(OURS, server, 2, 0).keys() == {"cpu", "memory"}
    assert scale.connections(OURS, server, 2, 20).keys() == {"rate", "cpu", "cores"}
    for name in available_lanes():
        if name in OWN:
            assert scale.lanes(name, server, 2, 20).keys() == {"rate", "cpu", "cores"}
            assert parallel.throughput(name, server, 2, 2).keys() == {"rate"}
            assert parallel.stalled(name, server, 0.2).keys() == {"p99", "added"}


def test_a_pool_at_rest(server):
    """Every conversation is whole."""
    assert pooled.pooled(server, 2, 3, 2).keys() == pooled.MEASURE.columns.keys()
    assert len(pooled.tasks(server, Size(quick=True))) == 1


@pytest.mark.parametrize("measure", run.MEASURES.values(), ids=run.MEASURES)
def test_every_measure_runs_in_its_quick_size(server, measure):
    """As ``--quick`` runs it: the bare sockets and our own client."""
    tasks = measure.tasks(server, Size(quick=True))
    # Our own come last: they take orjson away, which here is taken from those that follow.
    for task in sorted(tasks, key=lambda task: task.client == OURS):
        if task.client == OURS or task.client.startswith("bare"):
            found = task.run()
            assert found
            assert found.keys() <= measure.columns.keys()


@SECURE
def test_bare_sockets_find_the_ends_of_turns(server, secure):
    """They know beforehand how many bytes come."""
    assert raw.drain_lanes(server, 2, 20) > 0
    assert len(raw.follow(server, 5, 1_000)) == 5
    assert len(raw.follow_parsed(server, 5, 1_000)) == 5
    for http in (False, True):
        assert raw.drain(server, 20, http=http) > 0
        assert len(raw.turns(server, 3, http=http)) == 3
    assert len(raw.turns_ahead(server, raw.AHEAD + 1)) == 2
    parsed: list[bytes] = []
    turn = Turn(size=5_000, fragment=1_000)
    assert len(raw.receive_and_parse(server, turn, parsed.append, repeats=2, secure=secure)) == 2
    assert json.loads(parsed[0])["type"] == "response.completed"
    assert raw.send_large(server, 5_000, secure=secure) > 0


@pytest.mark.parametrize(
    "experiment", [tried.chunks, tried.hand_over, tried.parsing, tried.reading, tried.writing]
)
def test_what_was_tried_can_be_tried_again(experiment):
    """Each alternative runs; the first is in use."""
    alternatives = experiment()
    assert next(iter(alternatives)).startswith("in use")
    assert all(once() > 0 for once in alternatives.values())
