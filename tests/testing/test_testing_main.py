"""``python -m responses_ws.testing`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
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


def test_wrong_options_are_refused(serve):
    """An option that does not exist ends it with the usage."""
    command = [sys.executable, "-m", "responses_ws.testing", "--nonsense"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(  # noqa: S603 - this interpreter
        command, capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert result.returncode == 2
    assert "usage: python -m responses_ws.testing" in result.stderr
