"""What the package shows is listed, sorted, documented, and no more than that."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any

import django_project  # noqa: F401  (some modules want Django set up)
import pytest

import responses_ws
from responses_ws import (
    batch,
    chat,
    content,
    errors,
    http_transport,
    lease,
    messages,
    pool,
    session,
    store,
    stream,
    streaming,
    testing,
    tools,
    websocket,
)
from responses_ws._core import endpoint
from responses_ws._transport import base
from responses_ws.contrib import django, flask, sse

SUBMODULES = {"batch", "errors", "streaming", "tools"}
"""Modules that are public by themselves."""

BY_NAME = {"ChatStream", "Endpoint", "Retry", "Schema"}
"""What is public of modules that are not."""

MODULES = sorted(
    ["responses_ws", *(found.name for found in pkgutil.walk_packages(responses_ws.__path__, "responses_ws."))]
)
EMPTY = {
    "responses_ws._core",
    "responses_ws._pool",
    "responses_ws._transport",
    "responses_ws.contrib",
    "responses_ws.contrib.django.migrations",
}
"""Packages that are nothing but a place."""


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("name", [name for name in MODULES if name not in EMPTY])
def test_each_module_lists_its_names_sorted(name: str) -> None:
    """``__all__`` is there, sorted, without doubles, and every name in it can be had."""
    module = importlib.import_module(name)
    listed = module.__all__
    assert listed == sorted(set(listed), key=order)
    assert [entry for entry in listed if not hasattr(module, entry)] == []


@pytest.mark.parametrize("name", sorted(EMPTY))
def test_a_package_that_is_a_place_holds_nothing(name: str) -> None:
    """Its modules are imported by their own names."""
    module = importlib.import_module(name)
    assert module.__doc__ is None
    assert [entry for entry, value in public(module) if not inspect.ismodule(value)] == []


def public(owner: object) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(owner).items() if not name.startswith("_")]


# -- the top level


def test_the_top_level_is_what_the_public_modules_show() -> None:
    """Every public name can be imported from the top, and nothing else is there."""
    shown = {
        *errors.__all__,
        *messages.__all__,
        *stream.__all__,
        *http_transport.__all__,
        *websocket.__all__,
        "Lane",
        *lease.__all__,
        *pool.__all__,
        *session.__all__,
        *chat.__all__,
        *content.__all__,
        *BY_NAME,
        "__version__",
        *SUBMODULES,
    }
    assert set(responses_ws.__all__) == shown


def test_nothing_else_lies_around_at_the_top_level() -> None:
    """What completion offers is public, but for the modules themselves."""
    for name in responses_ws.__all__:
        getattr(responses_ws, name)  # some are loaded on first use
    found = {name for name, value in public(responses_ws) if not inspect.ismodule(value)}
    assert found - {"annotations"} == set(responses_ws.__all__) - SUBMODULES - {"__version__"}


def test_a_star_import_brings_the_listed_names() -> None:
    """And no builtin is hidden but ConnectionError, whose subclass it is."""
    scope: dict[str, Any] = {}
    exec("from responses_ws import *", scope)  # noqa: S102
    assert set(responses_ws.__all__) <= set(scope)
    hidden = {name for name in responses_ws.__all__ if hasattr(builtins, name)}
    assert hidden == {"ConnectionError"}
    assert issubclass(errors.ConnectionError, builtins.ConnectionError)


def test_the_version_is_a_release_number() -> None:
    """PEP 440, as setuptools reads it from ``_version``."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", responses_ws.__version__)


def test_the_testing_package_shows_type_checkers_what_it_loads_later() -> None:
    """The imports under TYPE_CHECKING are those of ``__all__``, from where the names are found."""
    tree = ast.parse(inspect.getsource(testing))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(imported, key=order) == testing.__all__
    for name, module in imported.items():
        assert getattr(testing, name) is getattr(importlib.import_module(str(module)), name)


# -- docstrings


def documented() -> Iterator[tuple[str, object]]:
    """Everything that a user may name, methods and properties included."""
    for module in (
        responses_ws,
        batch,
        content,
        errors,
        http_transport,
        messages,
        store,
        stream,
        streaming,
        tools,
        websocket,
        endpoint,
        testing,
        django,
        flask,
        sse,
    ):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, str | dict | types.UnionType):
                continue
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                yield from members(f"{module.__name__}.{name}", value)


def members(where: str, owner: type) -> Iterator[tuple[str, object]]:
    """The methods and properties, but for those that a protocol asks for and describes."""
    described = vars(PROTOCOLS.get(owner.__name__, object))
    for name, value in public(owner):
        is_member = isinstance(value, (classmethod, staticmethod, property)) or inspect.isfunction(value)
        if is_member and name not in described:
            yield f"{where}.{name}", value


PROTOCOLS = {"ScriptedTransport": base.Transport, "ScriptedConnector": base.Connector}

DOCUMENTED = dict(documented())


@pytest.mark.parametrize("where", DOCUMENTED)
def test_each_public_name_has_a_docstring(where: str) -> None:
    """A sentence of its own: neither inherited nor made by dataclass."""
    value = DOCUMENTED[where]
    text = value.__doc__
    assert text, where
    assert re.match(r"(\"|``|[A-Z0-9])", text), text
    assert not text.startswith(f"{where.rpartition('.')[2]}("), "made by dataclass"
    assert text.split("\n\n")[0].rstrip()[-1] in ".:", text


@pytest.mark.parametrize("name", [name for name in MODULES if name not in EMPTY])
def test_each_module_begins_with_a_docstring(name: str) -> None:
    """One sentence that says what the module knows."""
    text = importlib.import_module(name).__doc__
    assert text is not None
    assert text.split("\n\n")[0].rstrip()[-1] in ".:"


# -- the tree of errors

LINE = re.compile(r"(?P<indent> *)(?P<names>\w+(?:, \w+)*)(?: \((?P<builtin>[\w.]+)\))?(?:  +\S.*)?")


def tree_of(docstring: str) -> dict[str, tuple[str, ...]]:
    """Each class of the drawing with the classes that it is derived from."""
    bases: dict[str, tuple[str, ...]] = {}
    above: list[tuple[int, str]] = []
    block = docstring.partition("::\n\n")[2].partition("\n\n")[0]
    for line in block.splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        indent = len(match["indent"])
        above = [entry for entry in above if entry[0] < indent]
        builtin = (match["builtin"] or "").removeprefix("builtins.")
        for name in match["names"].split(", "):
            own = (above[-1][1] if above else "Exception", *([builtin] if builtin else []))
            bases[name] = own
        above.append((indent, match["names"].split(", ")[-1]))
    return bases


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """Every class is drawn, under the class it is derived from."""
    assert errors.__doc__ is not None
    drawn = tree_of(errors.__doc__)
    classes = [getattr(errors, name) for name in errors.__all__]
    real = {
        cls.__name__: tuple(base.__name__ for base in cls.__bases__)
        for cls in classes
        if not issubclass(cls, Enum)
    }
    assert drawn == real


def test_each_error_is_one_of_the_package_and_of_its_builtin() -> None:
    """``except ResponsesWSError`` catches all; the builtins of the tree catch theirs."""
    for name in tree_of(errors.__doc__ or ""):
        assert issubclass(getattr(errors, name), errors.ResponsesWSError)
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.ResponseTimeout, TimeoutError)
    assert issubclass(errors.ConnectionLost, OSError)
