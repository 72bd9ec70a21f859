"""Who may import whom, and what a module may use: read from the source of every module of the package."""

from __future__ import annotations

import ast
import graphlib
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGE = "responses_ws"
TESTING = f"{PACKAGE}.testing"
CONTRIB = f"{PACKAGE}.contrib"
ROOT = Path(__file__).parent.parent / PACKAGE

LEVELS = {
    f"{PACKAGE}._version": 0,
    f"{PACKAGE}._shown": 0,
    f"{PACKAGE}.errors": 0,
    f"{PACKAGE}.messages": 0,
    f"{PACKAGE}._core": 1,
    f"{PACKAGE}._transport": 2,
    f"{PACKAGE}.streaming": 2,
    f"{PACKAGE}.content": 2,
    f"{PACKAGE}.tools": 2,
    f"{PACKAGE}._call": 3,
    f"{PACKAGE}._http_call": 3,
    f"{PACKAGE}._http_line": 3,
    f"{PACKAGE}._paths": 3,
    f"{PACKAGE}._process": 3,
    f"{PACKAGE}._settings": 3,
    f"{PACKAGE}._stored_responses": 3,
    f"{PACKAGE}._source": 3,
    f"{PACKAGE}._deferring": 3,
    f"{PACKAGE}._connection": 3,
    f"{PACKAGE}._link": 3,
    f"{PACKAGE}._reading": 3,
    f"{PACKAGE}._linked": 3,
    f"{PACKAGE}._routed": 3,
    f"{PACKAGE}.stream": 3,
    f"{PACKAGE}.testing": 3,
    f"{PACKAGE}._toolbox": 4,
    f"{PACKAGE}._tool_runner": 4,
    f"{PACKAGE}._tool_loop": 4,
    f"{PACKAGE}._chat_options": 4,
    f"{PACKAGE}._chat_state": 4,
    f"{PACKAGE}._chat_stream": 4,
    f"{PACKAGE}.http_transport": 4,
    f"{PACKAGE}._conversation": 4,
    f"{PACKAGE}.store": 4,
    f"{PACKAGE}._portable": 6,
    f"{PACKAGE}.chat": 6,
    f"{PACKAGE}._chat_session": 6,
    f"{PACKAGE}._nap": 3,
    f"{PACKAGE}._dialer": 3,
    f"{PACKAGE}._pool": 5,
    f"{PACKAGE}.pool": 6,
    f"{PACKAGE}.lease": 6,
    f"{PACKAGE}._way": 6,
    f"{PACKAGE}._channel": 4,
    f"{PACKAGE}._verbs": 4,
    f"{PACKAGE}.lane": 4,
    f"{PACKAGE}.websocket": 4,
    f"{PACKAGE}._breakers": 4,
    f"{PACKAGE}._http_route": 4,
    f"{PACKAGE}._line": 4,
    f"{PACKAGE}._usage": 4,
    f"{PACKAGE}._recovery": 5,
    f"{PACKAGE}.session": 6,
    f"{PACKAGE}._batch_crew": 6,
    f"{PACKAGE}._batch_file": 6,
    f"{PACKAGE}._batch_inputs": 6,
    f"{PACKAGE}._batch_policy": 6,
    f"{PACKAGE}._batch_progress": 6,
    f"{PACKAGE}._batch_results": 6,
    f"{PACKAGE}._batch_run": 6,
    f"{PACKAGE}._batch_worker": 6,
    f"{PACKAGE}.batch": 6,
    f"{PACKAGE}.contrib._service": 7,
    f"{PACKAGE}.contrib.sse": 7,
    f"{PACKAGE}.contrib": 8,
    f"{PACKAGE}": 5,
}
"""The level of each module, and of each package for all modules in it."""

HOMES = {
    "websocket": {f"{PACKAGE}._transport.websocket_client"},
    "requests": {f"{PACKAGE}._transport.http", f"{PACKAGE}._transport.net"},
    "tqdm": {f"{PACKAGE}._batch_progress"},
    "redis": {f"{PACKAGE}.store.redis"},
    "sqlite3": {f"{PACKAGE}.store.sqlite"},
    "importlib": {PACKAGE, TESTING, f"{PACKAGE}.store"},
}
"""What only these modules may import: one file knows each library, and no test sees an import by name."""

EXTRAS = {
    "websockets": TESTING,
    "trustme": TESTING,
    "pytest": TESTING,
    "django": f"{CONTRIB}.django",
    "flask": f"{CONTRIB}.flask",
}
"""What only these packages and modules may import."""

PATCHABLE = ("threading", "queue", "socket", "ssl")
"""Used through the module only, so that gevent can put its own in place."""

SLEEPS_AND_CLOCKS = ("time.sleep", "time.time")
CLOCK = f"{PACKAGE}._transport.clock"
"""The only module that may look at the wall clock, for a machine that has slept."""

IMPURE = (
    "asyncio",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "logging",
    "os",
    "queue",
    "random",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
)
"""What a pure module cannot use: sockets, threads, locks, clocks, the environment, logging."""

# -- reading a module


@dataclass
class Source:
    """What one module imports and uses when it runs, as dotted names with their lines.

    ``if TYPE_CHECKING:`` is left out; what is inside of functions counts.
    """

    module: str
    is_package: bool = False
    imports: list[tuple[str, int]] = field(default_factory=list)
    uses: list[tuple[str, int]] = field(default_factory=list)
    taken_from: list[tuple[str, int]] = field(default_factory=list)


def read(module: str, text: str, *, is_package: bool = False) -> Source:
    source = Source(module, is_package)
    nodes = list(running(ast.parse(text)))
    names = {"print": "print"}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                source.imports.append((alias.name, node.lineno))
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(source, node)
            source.taken_from.append((origin, node.lineno))
            for alias in node.names:
                source.imports.append((f"{origin}.{alias.name}", node.lineno))
                names[alias.asname or alias.name] = f"{origin}.{alias.name}"
    for node in nodes:
        dotted = dotted_name(node, names)
        if dotted is not None:
            source.uses.append((dotted, node.lineno))
    return source


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below, without what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from running(other)
        else:
            yield from running(child)


def absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    kept = len(parts) - node.level + source.is_package
    return ".".join([*parts[:kept], *([node.module] if node.module else [])])


def dotted_name(node: ast.AST, names: Mapping[str, str]) -> str | None:
    """``time.sleep`` for an attribute of an imported module, however that is called here."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted_name(node.value, names)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def within(name: str, owner: str) -> bool:
    """Whether a dotted name is the owner or something of it."""
    return name == owner or name.startswith(f"{owner}.")


def parent(module: str) -> str:
    return module.rpartition(".")[0]


# -- the rules


def faults(sources: Iterable[Source]) -> list[str]:
    """Everything that is against the rules."""
    modules = {source.module: source for source in sources}
    return [
        *(f"{module} has no level" for module in modules if level(module) is None),
        *(fault for source in modules.values() for fault in import_faults(source, modules)),
        *(fault for source in modules.values() for fault in library_faults(source)),
        *(fault for source in modules.values() for fault in use_faults(source)),
        *cycle_faults(modules),
    ]


def level(module: str) -> int | None:
    """The level of a module: its own, or that of its package. The top package lends its level to nobody."""
    if module == PACKAGE:
        return LEVELS[PACKAGE]
    owners = [name for name in LEVELS if name != PACKAGE and within(module, name)]
    return LEVELS[owners[0]] if owners else None


def own_imports(source: Source, modules: Mapping[str, Source]) -> Iterator[tuple[str, int]]:
    """The modules of the package that a module imports."""
    for name, line in source.imports:
        if within(name, PACKAGE):
            yield (name if name in modules else parent(name)), line


def import_faults(source: Source, modules: Mapping[str, Source]) -> Iterator[str]:
    own = level(source.module)
    for target, line in own_imports(source, modules):
        where = f"{source.module}:{line} imports {target}"
        other = level(target)
        if target not in modules or own is None or other is None:
            yield f"{where}, which is not known"
        elif within(target, TESTING) and not within(source.module, TESTING):
            yield f"{where}, which is for tests"
        elif within(target, CONTRIB) and not within(source.module, CONTRIB):
            yield f"{where}, which is for frameworks"
        elif other > own:
            yield f"{where}, which is above it"
        elif other == own and not siblings(source, target):
            yield f"{where}, which is beside it in another package"


def siblings(source: Source, target: str) -> bool:
    package = source.module if source.is_package else parent(source.module)
    return target == package or parent(target) == package


def library_faults(source: Source) -> Iterator[str]:
    for name, line in source.imports:
        where = f"{source.module}:{line}"
        for library, homes in HOMES.items():
            if within(name, library) and source.module not in homes:
                yield f"{where} imports {library}, which only {', '.join(homes)} may"
        for extra, home in EXTRAS.items():
            if within(name, extra) and not within(source.module, home):
                yield f"{where} imports {name}, which belongs to an extra"
    for name, line in source.taken_from:
        if name in PATCHABLE:
            yield f"{source.module}:{line} takes names from {name}"


def use_faults(source: Source) -> Iterator[str]:
    used = {*source.imports, *source.uses}
    for name, line in sorted(used, key=lambda use: use[1]):
        where = f"{source.module}:{line}"
        if name in SLEEPS_AND_CLOCKS and (name, source.module) != ("time.time", CLOCK):
            yield f"{where} uses {name}"
        if name == "print" and source.module != f"{TESTING}.__main__":
            yield f"{where} prints"
        if within(source.module, f"{PACKAGE}._core") and any(within(name, impure) for impure in IMPURE):
            yield f"{where} uses {name}, and _core is pure"


def cycle_faults(modules: Mapping[str, Source]) -> Iterator[str]:
    graph = {name: {target for target, _ in own_imports(source, modules)} for name, source in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"these import each other: {' -> '.join(error.args[1])}"


# -- the package


def package_sources() -> list[Source]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        is_package = path.name == "__init__.py"
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if is_package else parts)
        found.append(read(module, path.read_text(encoding="utf-8"), is_package=is_package))
    return found


def test_every_module_keeps_the_rules() -> None:
    """Lower levels only, one file for each library, a pure core, no sleep, no print."""
    assert faults(package_sources()) == []


def test_no_level_is_for_a_module_that_is_gone() -> None:
    """The table says what the package has."""
    modules = [source.module for source in package_sources()]
    assert [name for name in LEVELS if name not in modules] == []


@pytest.mark.parametrize("library", ["websocket", "requests", "tqdm", "redis", "sqlite3"])
def test_each_library_has_its_home(library: str) -> None:
    """The rule about who may import it would hold as well for a library that nobody imports."""
    homes = {s.module for s in package_sources() if any(within(name, library) for name, _ in s.imports)}
    assert homes == HOMES[library]


# -- the checker itself, on packages made up for it


def check(**texts: str) -> list[str]:
    """The faults of modules given as text; ``_core__x`` stands for ``responses_ws._core.x``."""
    packages = {"_core": "", "_transport": "", "contrib": "", "testing": ""}
    sources = [Source(PACKAGE, is_package=True)]
    for name, text in {**packages, **texts}.items():
        module = f"{PACKAGE}.{name.replace('__', '.', 1)}"
        sources.append(read(module, textwrap.dedent(text), is_package=name in packages))
    return faults(sources)


@pytest.mark.parametrize(
    "texts",
    [
        {"messages": "from responses_ws.errors import ConnectionLost", "errors": ""},
        {"_core__x": "from responses_ws import errors", "errors": ""},
        {"_core__x": "from responses_ws._core.y import z", "_core__y": ""},
        {"_core__x": "from . import y", "_core__y": ""},
        {"_core__x": "from .y import z", "_core__y": ""},
        {"_core__x": "import responses_ws._core.y as other", "_core__y": ""},
        {"_link": "from responses_ws._call import Call", "_call": "import time\ntime.monotonic()"},
        {"stream": "import responses_ws.streaming", "streaming": ""},
        {"websocket": "def f():\n    from responses_ws._transport.ws import x", "_transport__ws": ""},
        {
            "_call": "if TYPE_CHECKING:\n    from responses_ws._link import Link",
            "_link": "from responses_ws._call import Call",
        },
        {
            "_core__x": """
                import typing
                if typing.TYPE_CHECKING:
                    import socket
                    from responses_ws.stream import ResponseStream
            """,
            "stream": "",
        },
        {"_transport__websocket_client": "import websocket\nimport socket"},
        {"_transport__net": "def f():\n    import requests.utils"},
        {
            "testing__x": "import pytest\nfrom responses_ws._transport.base import Target",
            "_transport__base": "",
        },
        {"testing__x": "from responses_ws.testing.y import z", "testing__y": ""},
        {"testing__x": "from responses_ws.testing import y", "testing": "", "testing__y": ""},
        {"testing____main__": "print('serving')"},
        {"contrib__flask": "import flask\nfrom responses_ws.contrib.sse import x", "contrib__sse": ""},
        {"contrib__sse": "from responses_ws.chat import Chat", "chat": ""},
        {"_core__x": "blueprint = time = 1\nself.time.sleep(time.sleep, queue)"},
    ],
)
def test_what_is_allowed(texts: dict[str, str]) -> None:
    """The checker has no false alarms."""
    assert check(**texts) == []


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ({"_core__x": "from responses_ws.stream import y", "stream": ""}, "which is above it"),
        ({"_core__x": "from responses_ws import stream", "stream": ""}, "which is above it"),
        ({"_core__x": "import responses_ws.stream", "stream": ""}, "which is above it"),
        ({"_core__x": "from .. import stream", "stream": ""}, "which is above it"),
        ({"_core__x": "from ..stream import y", "stream": ""}, "which is above it"),
        ({"_core__x": "from responses_ws import WebSocket"}, "imports responses_ws, which is above it"),
        ({"_core__x": "def f():\n    from responses_ws.stream import y", "stream": ""}, ":2 imports"),
        (
            {"_core__x": "class A:\n    def f(self):\n        import responses_ws.stream", "stream": ""},
            ":3 imports",
        ),
        (
            {"_core__x": "if TYPE_CHECKING:\n    pass\nelse:\n    import responses_ws.stream", "stream": ""},
            "above",
        ),
        (
            {"_core__x": "if not TYPE_CHECKING:\n    import responses_ws.stream", "stream": ""},
            "which is above it",
        ),
        ({"errors": "from responses_ws._core.x import y", "_core__x": ""}, "which is above it"),
        ({"streaming": "import responses_ws._transport.x", "_transport__x": ""}, "in another package"),
        ({"_transport__x": "from responses_ws.streaming import y", "streaming": ""}, "in another package"),
        ({"testing__x": "from responses_ws.stream import y", "stream": ""}, "in another package"),
        ({"testing__x": "from responses_ws.websocket import y", "websocket": ""}, "which is above it"),
        ({"websocket": "from responses_ws.testing import Model"}, "which is for tests"),
        ({"websocket": "import responses_ws.testing.model", "testing__model": ""}, "which is for tests"),
        ({"_core__x": "import responses_ws._core.nowhere.at_all"}, "which is not known"),
        ({"nothing": ""}, "responses_ws.nothing has no level"),
        (
            {
                "_call": "import responses_ws._link",
                "_link": "def f():\n    import responses_ws.stream",
                "stream": "import responses_ws._call",
            },
            "these import each other",
        ),
        ({"_core__x": "from responses_ws._core import x"}, "these import each other"),
        ({"_transport__ws": "import websocket"}, "imports websocket"),
        ({"_transport__ws": "from websocket._abnf import ABNF"}, "imports websocket"),
        ({"websocket": "def f():\n    import requests.utils"}, "imports requests"),
        ({"websocket": "import importlib"}, "imports importlib"),
        ({"websocket": "from websockets.frames import Frame"}, "belongs to an extra"),
        ({"websocket": "import flask"}, "belongs to an extra"),
        ({"contrib__flask": "import flask\nfrom django.conf import settings"}, "belongs to an extra"),
        ({"chat": "from responses_ws.contrib import flask", "contrib__flask": ""}, "is for frameworks"),
        ({"_link": "from threading import Thread"}, "takes names from threading"),
        ({"_link": "def f():\n    from queue import Queue"}, "takes names from queue"),
        ({"_transport__ws": "from socket import socket"}, "takes names from socket"),
        ({"testing__x": "from ssl import SSLContext"}, "takes names from ssl"),
        ({"_link": "import time\ntime.sleep(1)"}, "uses time.sleep"),
        ({"_link": "import time\ndef f(sleep=time.sleep): ..."}, "uses time.sleep"),
        ({"_link": "import time as clock\nclock.sleep(1)"}, "uses time.sleep"),
        ({"_link": "from time import sleep"}, "uses time.sleep"),
        ({"testing__x": "import time\nnow = time.time"}, "uses time.time"),
        ({"_link": "def f():\n    print('here')"}, "prints"),
        ({"_link": "show = print"}, "prints"),
        ({"testing__x": "print('here')"}, "prints"),
        *(({"_core__x": f"import {name}"}, "and _core is pure") for name in IMPURE if "." not in name),
        ({"_core__x": "import os\nos.environ['x']"}, "uses os.environ, and _core is pure"),
        ({"_core__x": "from os import environ"}, "uses os.environ, and _core is pure"),
        ({"_core__x": "def f():\n    import time"}, "and _core is pure"),
        ({"_core__x": "from datetime import datetime\ndatetime.now()"}, "and _core is pure"),
    ],
)
def test_what_is_not_allowed(texts: dict[str, str], fault: str) -> None:
    """Each rule is seen to fail."""
    found = check(**texts)
    assert any(fault in text for text in found), found
