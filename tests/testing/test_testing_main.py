"""``python -m responses_ws.testing`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import websocket

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def serve():
    """Starts it and reads what it prints before it serves."""
    processes: list[subprocess.Popen] = []

    def start(*arguments: str) -> tuple[subprocess.Popen, dict[str, str]]:
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-W", "error", "-m", "responses_ws.testing", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        processes.append(process)
        process.stdout.readline()
        count = 3 if "--tls" in arguments else 2
        lines = [process.stdout.readline().strip().removeprefix("export ") for _ in range(count)]
        return process, dict(line.split("=", 1) for line in lines)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped(serve, tls, stop):
    """It prints what to export, answers, and ends cleanly on both signals, a connection open or not."""
    process, exported = serve(*(["--tls"] if tls else []))
    options = {}
    if tls:
        options["context"] = ssl.create_default_context(cafile=exported["SSL_CERT_FILE"])
    client = websocket.create_connection(
        f"{exported['OPENAI_BASE_URL']}/responses", sslopt=options, timeout=20
    )
    client.send(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
    assert json.loads(client.recv())["type"] == "response.created"
    process.send_signal(stop)
    out, err = process.communicate(timeout=20)
    client.shutdown()
    assert (process.returncode, out, err) == (0, "", "")
    assert "OPENAI_API_KEY" in exported
    assert not tls or not os.path.exists(exported["SSL_CERT_FILE"])


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "responses_ws.testing", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(  # noqa: S603 - this interpreter
        command, capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def test_wrong_options_are_refused():
    """An option that does not exist ends it with the usage."""
    result = ended("--nonsense")
    assert result.returncode == 2
    assert "usage: python -m responses_ws.testing" in result.stderr


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_there_is_not_is_refused(port):
    """In a sentence, with the usage."""
    result = ended("--port", port)
    assert result.returncode == 2
    assert "error: --port must be a number from 0 to 65535" in result.stderr


def test_a_port_that_is_taken_is_told():
    """Not by a traceback."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = ended("--port", port)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"port {port} cannot be listened on: ")
