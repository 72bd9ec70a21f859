from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responses_ws._core.endpoint import Endpoint, check_insecure
from responses_ws.errors import ConfigurationError

URLS = [
    ("https://api.openai.com/v1", "wss://api.openai.com/v1/responses"),
    ("http://localhost:8080/v1", "ws://localhost:8080/v1/responses"),
    ("wss://gateway.example/v1", "wss://gateway.example/v1/responses"),
    ("ws://127.0.0.1:9", "ws://127.0.0.1:9/responses"),
    ("https://h.example", "wss://h.example/responses"),
    ("https://h.example/", "wss://h.example/responses"),
    ("https://h.example/v1///", "wss://h.example/v1/responses"),
    ("https://h.example/a/b/v1", "wss://h.example/a/b/v1/responses"),
    ("https://h.example/v1?model=m&x=%20", "wss://h.example/v1/responses?model=m&x=%20"),
    ("https://h.example/v1/?a=/b/", "wss://h.example/v1/responses?a=/b/"),
    ("https://h.example?a=1", "wss://h.example/responses?a=1"),
    ("https://h.example/v1?", "wss://h.example/v1/responses"),
    ("HTTPS://API.OpenAI.com/V1", "wss://api.openai.com/V1/responses"),
    ("https://h.example:443/v1", "wss://h.example:443/v1/responses"),
    ("https://h.example:/v1", "wss://h.example/v1/responses"),
    ("https://h.example./v1", "wss://h.example./v1/responses"),
    ("http://my_service:80/v1", "ws://my_service:80/v1/responses"),
    ("http://[::1]:8000/v1", "ws://[::1]:8000/v1/responses"),
    ("https://[2001:DB8::1]/v1", "wss://[2001:db8::1]/v1/responses"),
    ("https://bücher.example/v1", "wss://xn--bcher-kva.example/v1/responses"),
    ("https://例え.テスト/v1", "wss://xn--r8jz45g.xn--zckzah/v1/responses"),
    ("https://h.example/müll?q=ü", "wss://h.example/m%C3%BCll/responses?q=%C3%BC"),
    ("https://h.example/v1;p=1/%2F", "wss://h.example/v1;p=1/%2F/responses"),
]

REFUSED = [
    "",
    "api.openai.com/v1",
    "//api.openai.com/v1",
    "ftp://h.example/v1",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https:///v1",
    "https://",
    "https://:443/v1",
    "https:api.openai.com/v1",
    "https://user@h.example/v1",
    "https://user:sesame@h.example/v1",
    "https://:sesame@h.example/v1",
    "https://@h.example/v1",
    "https://sesame\\@h.example/v1",
    "https://user:sesame@[::1/v1",
    "https://user:sesame@h.example\uff03/v1",
    "https://h.example/v1#frag",
    "https://h.example/v1#",
    "https://h.example/v1\r\nX-Evil: 1",
    "https://h.example/v1\n",
    " https://h.example/v1",
    "https://h.example/v 1",
    "https://h.example/\x00",
    "https://h.example/\u00a0",
    "https://h.example/\u2028",
    "https://h.example/\ud800",
    "https://h\t.example/v1",
    "https://h.example:0/v1",
    "https://h.example:65536/v1",
    "https://h.example:-1/v1",
    "https://h.example:http/v1",
    "https://::1/v1",
    "https://[::1",
    "https://[::1]evil:80/v1",
    "https://evil[::1]/v1",
    "https://[zz]/v1",
    "https://[fe80::1%25eth0]/v1",
    "https://a..b/v1",
    "https://.h.example/v1",
    "https://%41.example/v1",
    "https://h.example\\.api.openai.com/v1",
    "https://" + "a" * 64 + ".example/v1",
    "https://ü" + "a" * 64 + ".example/v1",
    "https://" + "a." * 127 + "com/v1",
]

HOSTS = [
    ("api.openai.com", (3300, 16, 32, None)),
    ("API.OPENAI.COM", (3300, 16, 32, None)),
    ("api.openai.com.", (3300, 16, 32, None)),
    ("eu.api.openai.com", (3300, 16, 32, None)),
    ("res.openai.azure.com", (3300, 1, 0, None)),
    ("api.x.ai", (1320, 1, 0, None)),
    ("ai-gateway.vercel.sh", (720, 1, 0, 4 * 1024 * 1024)),
    ("evil-api.openai.com.example", (3300, 1, 0, None)),
    ("evil-api.openai.com", (3300, 1, 0, None)),
    ("xapi.x.ai", (3300, 1, 0, None)),
    ("x.ai", (3300, 1, 0, None)),
    ("openai.com", (3300, 1, 0, None)),
    ("localhost", (3300, 1, 0, None)),
    ("[::1]", (3300, 1, 0, None)),
]

PARTS = [
    ("https://h.example/v1", ("h.example", 443, True, False)),
    ("http://h.example/v1", ("h.example", 80, False, False)),
    ("https://h.example:8443", ("h.example", 8443, True, False)),
    ("http://[::1]:8000", ("::1", 8000, False, True)),
    ("http://[2001:db8::1]", ("2001:db8::1", 80, False, False)),
    ("http://localhost", ("localhost", 80, False, True)),
    ("http://LOCALHOST.", ("localhost.", 80, False, True)),
    ("http://127.0.0.1", ("127.0.0.1", 80, False, True)),
    ("http://127.255.0.7:1", ("127.255.0.7", 1, False, True)),
    ("http://128.0.0.1", ("128.0.0.1", 80, False, False)),
    ("http://0.0.0.0", ("0.0.0.0", 80, False, False)),  # noqa: S104 - an address to judge, not to bind
    ("http://127.0.0.1.example", ("127.0.0.1.example", 80, False, False)),
    ("http://notlocalhost", ("notlocalhost", 80, False, False)),
    ("http://localhost.example", ("localhost.example", 80, False, False)),
    ("https://bücher.example", ("xn--bcher-kva.example", 443, True, False)),
]


@pytest.mark.parametrize(("api_base", "url"), URLS)
def test_url_rule(api_base: str, url: str) -> None:
    assert Endpoint.of(api_base).url == url


@pytest.mark.parametrize("api_base", REFUSED)
def test_a_base_that_cannot_work_is_refused_without_showing_it(api_base: str) -> None:
    with pytest.raises(ConfigurationError, match="api_base") as caught:
        Endpoint.of(api_base)
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("api_base", [None, b"https://h.example", 5])
def test_a_base_that_is_no_str_is_refused(api_base: Any) -> None:
    with pytest.raises(ConfigurationError, match="api_base must be a str"):
        Endpoint.of(api_base)


@pytest.mark.parametrize("path", ["", "/v1", "/a?b=c"])
@pytest.mark.parametrize(("host", "able"), HOSTS)
def test_capabilities_follow_from_the_host(host: str, able: tuple[Any, ...], path: str) -> None:
    endpoint = Endpoint.of(f"https://{host}{path}")
    assert (
        endpoint.max_age,
        endpoint.max_in_flight,
        endpoint.max_lanes,
        endpoint.max_request_bytes,
    ) == able


@pytest.mark.parametrize(("api_base", "parts"), PARTS)
def test_parts_of_the_address(api_base: str, parts: tuple[Any, ...]) -> None:
    endpoint = Endpoint.of(api_base)
    assert (endpoint.host, endpoint.port, endpoint.secure, endpoint.loopback) == parts


@given(
    scheme=st.sampled_from(["http", "https", "ws", "wss"]),
    host=st.from_regex(r"[a-z0-9]{1,9}(\.[a-z]{1,9}){0,2}", fullmatch=True) | st.just("[::1]"),
    port=st.none() | st.integers(1, 65535),
    path=st.text(),
)
def test_an_address_stays_as_it_is_when_read_again(
    scheme: str, host: str, port: int | None, path: str
) -> None:
    base = f"{scheme}://{host}{'' if port is None else f':{port}'}/{path}"
    try:
        endpoint = Endpoint.of(base)
    except ConfigurationError:
        return
    assert Endpoint(endpoint.url).url == endpoint.url
    assert endpoint.url.isascii()
    assert endpoint.url.partition("?")[0].endswith("/responses")
    assert endpoint.host == host.strip("[]")
    assert endpoint.port == (port or (443 if scheme in ("https", "wss") else 80))


@given(st.sampled_from(["{}", "https://{}", "http://[{}]/", "wss://h.example:{}"]), st.text())
def test_no_text_raises_anything_but_a_configuration_error(form: str, text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        Endpoint.of(form.format(text))


def test_an_endpoint_by_hand_defaults_to_the_least() -> None:
    endpoint = Endpoint("wss://h.example/v1/responses/ws")
    assert endpoint == Endpoint("wss://h.example/v1/responses/ws", 3300, 1, 0, None)
    assert Endpoint("ws://h.example/responses", max_age=None).max_age is None


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://h.example"},
        {"url": "wss://user:pw@h.example/responses"},
        {"url": None},
        {"max_age": 0},
        {"max_age": -1},
        {"max_age": float("inf")},
        {"max_age": True},
        {"max_in_flight": 0},
        {"max_in_flight": 1.5},
        {"max_in_flight": None},
        {"max_lanes": -1},
        {"max_lanes": True},
        {"max_request_bytes": 0},
        {"max_request_bytes": "1"},
    ],
)
def test_an_endpoint_by_hand_is_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Endpoint(**{"url": "wss://h.example/responses", **options})


@pytest.mark.parametrize(
    "api_base", ["https://h.example", "http://localhost", "http://[::1]", "http://127.1.2.3"]
)
def test_a_key_goes_over_tls_or_to_loopback(api_base: str) -> None:
    check_insecure(Endpoint.of(api_base), has_key=True, allow_insecure=False)


def test_a_key_goes_unencrypted_only_where_allowed() -> None:
    endpoint = Endpoint.of("http://10.0.0.1/v1")
    with pytest.raises(ConfigurationError, match="allow_insecure"):
        check_insecure(endpoint, has_key=True, allow_insecure=False)
    check_insecure(endpoint, has_key=True, allow_insecure=True)
    check_insecure(endpoint, has_key=False, allow_insecure=False)
