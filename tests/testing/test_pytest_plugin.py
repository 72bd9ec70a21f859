"""The fixtures, as a user's own test run meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

USER_TESTS = """
import json
import websocket
from responses_ws.testing import Model, expect, send

def talk(server):
    options = {"context": server.ssl_context} if server.ssl_context else {}
    client = websocket.create_connection(server.url + "/responses", sslopt=options, timeout=10)
    client.send(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
    answer = client.recv()
    client.close()
    return json.loads(answer)

def test_script(responses_server):
    responses_server.connection(expect(input="hi"), send({"n": 1}))
    assert talk(responses_server) == {"n": 1}

def test_script_over_tls(responses_tls_server):
    responses_tls_server.connection(expect(input="hi"), send({"n": 1}))
    assert talk(responses_tls_server) == {"n": 1}

def test_model(responses_model):
    assert talk(responses_model)["type"] == "response.created"
    assert isinstance(responses_model.model, Model)

def test_script_that_is_not_played(responses_server):
    responses_server.connection(expect(input="ho"))
    talk(responses_server)
"""


@pytest.fixture
def run_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs pytest in a process of its own with our plugin and no other."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        plugin = "responses_ws.testing.pytest_plugin"
        return pytester.runpytest_subprocess("-p", plugin, "-W", "error", *arguments)

    return run


def test_the_fixtures_serve_and_check(run_tests):
    """Three fixtures serve tests; a script that was not followed fails its test at the end."""
    result = run_tests(USER_TESTS)
    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*the scripted server saw something else*", "*input: expected 'ho', got 'hi'*"]
    )


@pytest.mark.parametrize(
    ("fixture", "package"), [("responses_server", "websockets"), ("responses_model", "trustme")]
)
def test_a_missing_package_is_named_with_its_extra(run_tests, fixture, package):
    """Without the extra only the tests that use the fixtures fail, and they say what to install."""
    result = run_tests(
        f"""
        import sys
        import pytest

        @pytest.fixture(autouse=True)
        def without(monkeypatch):
            monkeypatch.setitem(sys.modules, "{package}", None)

        def test_it({fixture}):
            pass

        def test_other():
            pass
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"*needs {package}, the extra 'testing'*"])


@pytest.mark.parametrize("module", ["responses_ws.testing", "responses_ws.testing.pytest_plugin"])
def test_importing_is_light(module):
    """The plugin, which every pytest run of a user loads, imports nothing of the server."""
    heavy = (
        "websockets",
        "trustme",
        "cryptography",
        "responses_ws.testing.server",
        "responses_ws.testing.model",
    )
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(  # noqa: S603 - this interpreter, with the text above
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"
