from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responses_ws._core.headers import (
    Masker,
    check_headers,
    check_key,
    credentials,
    hide,
    secrets,
    upgrade_headers,
)
from responses_ws._core.secret import Secret
from responses_ws.errors import ConfigurationError

SENTINEL = "sk-sentinel-0123456789"


def refusal(call: Callable[[], object]) -> str:
    """The error of a call as a crash reporter prints it, the locals of every frame of ours included."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    assert inner is not None
    report = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    return f"{error!r}{''.join(report.format())}"


@pytest.mark.parametrize("key", [SENTINEL, f"{SENTINEL}\n", f" \t{SENTINEL}\r\n", f"\ufeff{SENTINEL}"[1:]])
def test_a_key_loses_the_whitespace_around_it(key: str) -> None:
    assert check_key(Secret(key)) == Secret(SENTINEL)


@pytest.mark.parametrize(
    "key",
    [
        "",
        " \n",
        f"{SENTINEL}\r\nX-Evil: 1",
        f"{SENTINEL}\nx",
        f"a {SENTINEL}",
        f"a\t{SENTINEL}",
        f"{SENTINEL}\x00",
        f"{SENTINEL}\x7f",
        f"{SENTINEL}\u2026",
        f"{SENTINEL}\u00e9",
        f"\ufeff{SENTINEL}",
        f"{SENTINEL}\ud800",
        SENTINEL.encode(),
        None,
        5,
    ],
)
def test_a_key_that_cannot_be_sent_is_refused_and_shown_nowhere(key: Any) -> None:
    report = refusal(lambda: check_key(Secret(key)))
    assert "api_key" in report
    assert SENTINEL not in report


@pytest.mark.parametrize(
    ("headers", "checked"),
    [
        (None, {}),
        ({}, {}),
        ({"X-A": "1"}, {"X-A": "1"}),
        ({"X-A": ""}, {"X-A": ""}),
        ({"X-A": " \t1 2\t"}, {"X-A": "1 2"}),
        ({"X-A": "1\u00a0"}, {"X-A": "1\u00a0"}),
        ({"x-a": "caf\u00e9"}, {"x-a": "caf\u00e9"}),
        (
            {"Authorization": "Basic x", "!#$%&'*+-.^_`|~9": "y"},
            {"Authorization": "Basic x", "!#$%&'*+-.^_`|~9": "y"},
        ),
        ({"X-A": Secret("1")}, {"X-A": "1"}),
        ({"OpenAI-Beta": "v"}, {"OpenAI-Beta": "v"}),
    ],
)
def test_headers_are_hidden_and_kept(headers: Any, checked: dict[str, str]) -> None:
    assert check_headers(headers) == {name: Secret(value) for name, value in checked.items()}


@pytest.mark.parametrize(
    "value",
    [
        f"{SENTINEL}\r\nX-Evil: 1",
        f"{SENTINEL}\r",
        f"{SENTINEL}\n",
        f"{SENTINEL}\x00",
        f"{SENTINEL}\x1b",
        f"{SENTINEL}\x7f",
        f"{SENTINEL}\u2026",
        f"{SENTINEL}\ud800",
        SENTINEL.encode(),
        [SENTINEL],
        None,
        5,
    ],
)
@pytest.mark.parametrize("wrap", [lambda value: value, Secret])
def test_a_value_that_cannot_be_sent_is_refused_and_shown_nowhere(
    value: Any, wrap: Callable[[Any], Any]
) -> None:
    report = refusal(lambda: check_headers({"X-First": SENTINEL, "X-Token": wrap(value)}))
    assert "headers" in report
    assert "'X-Token'" in report
    assert SENTINEL not in report


@pytest.mark.parametrize("name", ["", "X A", "X:", "X\r\n", "X\n", "X\u00e9", "(x)", 5, None, b"X-A"])
def test_a_name_that_is_no_token_is_refused(name: Any) -> None:
    report = refusal(lambda: check_headers({name: SENTINEL}))
    assert f"headers: {name!r}" in report
    assert SENTINEL not in report


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "HOST",
        "upgrade",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Cookie",
        "origin",
        "Proxy-Authorization",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    ],
)
def test_headers_that_are_not_the_callers_are_refused_with_a_reason(name: str) -> None:
    report = refusal(lambda: check_headers({"X-A": "1", name: SENTINEL}))
    assert f"{name!r} cannot be set: " in report
    assert SENTINEL not in report


@pytest.mark.parametrize("headers", [SENTINEL, [("Authorization", SENTINEL)], 5])
def test_headers_that_are_no_mapping_are_refused_and_shown_nowhere(headers: Any) -> None:
    for given_headers in (headers, hide(headers)):
        report = refusal(lambda: check_headers(given_headers))  # noqa: B023 - called before the next turn
        assert f"headers must be a mapping of str to str, not {type(headers).__name__}" in report
        assert SENTINEL not in report


def test_a_name_in_two_cases_is_refused() -> None:
    assert "headers" in refusal(lambda: check_headers({"X-A": "1", "x-a": "2"}))


@pytest.mark.parametrize(
    "headers",
    [None, {}, {"X-A": SENTINEL}, {"X-A": Secret(SENTINEL)}, {"X A": None}, {5: 5}, [SENTINEL], SENTINEL, 5],
)
def test_hiding_shows_and_refuses_nothing(headers: Any) -> None:
    hidden = hide(headers)
    assert SENTINEL not in repr(hidden)
    assert hide(hidden) == hidden


def test_the_callers_headers_stay_as_they_are() -> None:
    headers = {"X-A": " 1 "}
    check_headers(headers)
    assert headers == {"X-A": " 1 "}


def upgrade(**options: Any) -> dict[str, str]:
    given_options = {"organization_id": None, "project_id": None, "extra": None, **options}
    headers = upgrade_headers(given_options.pop("key", None), user_agent="ua/1", **given_options)
    return {name: value.reveal() for name, value in headers.items()}


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({}, {"User-Agent": "ua/1"}),
        ({"key": Secret(SENTINEL)}, {"User-Agent": "ua/1", "Authorization": f"Bearer {SENTINEL}"}),
        ({"organization_id": "org-1"}, {"User-Agent": "ua/1", "OpenAI-Organization": "org-1"}),
        ({"project_id": "proj-1"}, {"User-Agent": "ua/1", "OpenAI-Project": "proj-1"}),
        ({"organization_id": "", "project_id": ""}, {"User-Agent": "ua/1"}),
        ({"extra": {"X-A": Secret("1")}}, {"User-Agent": "ua/1", "X-A": "1"}),
        (
            {"key": Secret("k"), "extra": {"AUTHORIZATION": Secret("Basic x"), "user-agent": Secret("mine")}},
            {"AUTHORIZATION": "Basic x", "user-agent": "mine"},
        ),
    ],
)
def test_headers_of_the_upgrade(options: dict[str, Any], headers: dict[str, str]) -> None:
    assert upgrade(**options) == headers


@pytest.mark.parametrize("option", ["organization_id", "project_id"])
@pytest.mark.parametrize("value", ["x\r\nX-Evil: 1", "x\n", "\u2026", 5])
def test_ids_cannot_inject_a_header(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option):
        upgrade(**{option: value})


LONG = "0123456789ab"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"Authorization": f"Bearer {SENTINEL}"}, [SENTINEL]),
        ({"authorization": f"bearer  {SENTINEL}"}, [SENTINEL]),
        ({"Authorization": f"Basic {LONG}"}, [LONG]),
        ({"Authorization": SENTINEL}, [SENTINEL]),
        ({"Authorization": "Bearer test"}, []),
        ({"Authorization": f"Bearer {LONG[1:]}"}, []),
        ({"api-key": LONG}, [LONG]),
        ({"api-key": LONG[1:]}, []),
        ({"X-Auth-Token": LONG}, [LONG]),
        ({"X-CLIENT-SECRET": LONG}, [LONG]),
        ({"X-Cookie": LONG}, [LONG]),
        ({"User-Agent": LONG, "OpenAI-Organization": LONG}, []),
        ({"x-key": LONG, "x-token": LONG}, [LONG]),
        ({"x-key": LONG, "x-token": f"{LONG}c"}, [f"{LONG}c", LONG]),
    ],
)
def test_what_is_secret(headers: dict[str, str], found: list[str]) -> None:
    hidden = {name: Secret(value) for name, value in headers.items()}
    assert [secret.reveal() for secret in secrets(hidden)] == found


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"X-A": LONG}, []),
        ({"Authorization": "Bearer x"}, ["x"]),
        ({"api-key": "x", "X-A": "y", "X-TOKEN": "z"}, ["x", "z"]),
        ({"Authorization": "", "api-key": ""}, []),
    ],
)
def test_what_proves_who_is_asking(headers: dict[str, str], found: list[str]) -> None:
    hidden = {name: Secret(value) for name, value in headers.items()}
    assert [secret.reveal() for secret in credentials(hidden)] == found


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("", ""),
        ("nothing here", "nothing here"),
        (f"bad key {LONG}.", f"bad key {'*' * 12}."),
        (f"{LONG}{LONG}", "*" * 24),
        (f"{LONG}c", "*" * 13),
        (f"caf\u00e9 {LONG}", f"caf\u00e9 {'*' * 12}"),
    ],
)
def test_masking_keeps_the_length(text: str, masked: str) -> None:
    hidden = secrets({"x-key": Secret(LONG), "x-token": Secret(f"{LONG}c")})
    assert Masker(hidden)(text.encode()) == masked.encode()


def test_masking_counts_bytes_in_bytes() -> None:
    assert Masker([Secret("caf\u00e9")])("a caf\u00e9 b".encode()) == b"a ***** b"


@pytest.mark.parametrize("spelling", ['k/1+"2', 'k/1+\\"2', 'k\\/1+\\"2'])
def test_a_secret_is_found_as_json_may_escape_it(spelling: str) -> None:
    assert Masker([Secret('k/1+"2')])(f"<{spelling}>".encode()) == b"<" + b"*" * len(spelling) + b">"


@given(text=st.text("ab\u00e9", max_size=60), values=st.lists(st.text("ab\u00e9", min_size=2, max_size=5)))
def test_no_secret_is_left_and_no_length_changes(text: str, values: list[str]) -> None:
    masked = Masker(Secret(value) for value in values)(text.encode())
    assert not [value for value in values if value.encode() in masked]
    assert len(masked) == len(text.encode())


def test_no_repr_shows_a_value() -> None:
    assert SENTINEL not in repr(check_headers({"Authorization": SENTINEL}))
