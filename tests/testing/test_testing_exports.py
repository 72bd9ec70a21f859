"""The names that users import."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import responses_ws.testing

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", responses_ws.testing.__all__)
def test_every_public_name_is_there(name):
    """Each name of ``__all__`` can be had from the package and from nowhere else by another meaning."""
    value = getattr(responses_ws.testing, name)
    assert value.__module__.startswith("responses_ws.testing.")
    assert (value.__doc__ or "").strip()


def test_unknown_names_are_unknown():
    """What is not public is an AttributeError, as on any module."""
    with pytest.raises(AttributeError, match="nonsense"):
        _ = responses_ws.testing.nonsense


def test_the_public_names_are_sorted():
    """``__all__`` is sorted and has no name twice, in every module."""
    for info in pkgutil.iter_modules(responses_ws.testing.__path__, "responses_ws.testing."):
        names = importlib.import_module(info.name).__all__
        assert list(names) == sorted(set(names)), info.name
    names = responses_ws.testing.__all__
    assert list(names) == sorted(set(names))


def test_a_missing_package_is_named_with_its_extra():
    """Without the extra an import says what to install; what needs nothing of it goes on working."""
    code = """
import sys
sys.modules["websockets"] = None
from responses_ws.testing import Model, ScriptedTransport, expect
try:
    from responses_ws.testing import ScriptedServer
except ImportError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(  # noqa: S603 - this interpreter, with the text above
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    expected = "responses_ws.testing.ScriptedServer needs websockets, the extra 'testing'\n"
    assert result.stdout == expected
