from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import subprocess
import sys
import traceback
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests.utils
import trustme
from cryptography import x509
from cryptography.x509.name import _ASN1Type

from responses_ws._core.secret import Secret
from responses_ws._transport.net import Proxy, connect_request, proxy_for, tls_context
from responses_ws.errors import ConfigurationError

SENTINEL = "sesame-0123456789"
WSS = "wss://api.example/v1/responses"
WS = "ws://api.example/v1/responses"
P1 = Proxy("http", "one.local", 3128)
P2 = Proxy("http", "two.local", 3128)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "REQUEST_METHOD",
        }:
            monkeypatch.delenv(name)


ENVIRONMENT: list[tuple[dict[str, str], str, Proxy | None]] = [
    ({}, WSS, None),
    ({"https_proxy": "http://one.local:3128"}, WSS, P1),
    ({"HTTPS_PROXY": "http://one.local:3128"}, WSS, P1),
    ({"https_proxy": "one.local:3128"}, WSS, P1),
    ({"https_proxy": "http://one.local:3128/"}, WSS, P1),
    ({"https_proxy": ""}, WSS, None),
    ({"https_proxy": "http://one.local:3128"}, WS, None),
    ({"http_proxy": "http://one.local:3128"}, WS, P1),
    ({"http_proxy": "http://one.local:3128"}, WSS, None),
    ({"all_proxy": "http://one.local:3128"}, WSS, P1),
    ({"ALL_PROXY": "http://one.local:3128"}, WS, P1),
    ({"all_proxy": "http://one.local:3128", "https_proxy": "http://two.local:3128"}, WSS, P2),
    ({"wss_proxy": "http://one.local:3128", "https_proxy": "http://two.local:3128"}, WSS, P1),
    ({"WSS_PROXY": "http://one.local:3128"}, WSS, P1),
    ({"ws_proxy": "http://one.local:3128", "http_proxy": "http://two.local:3128"}, WS, P1),
    ({"wss_proxy": "http://one.local:3128", "http_proxy": "http://two.local:3128"}, WS, P2),
    ({"ftp_proxy": "http://one.local:3128"}, WSS, None),
    ({"no_proxy": "*"}, WSS, None),
]

NO_PROXY = [
    ("api.example", WSS, False),
    ("example", WSS, False),
    (".example", WSS, False),
    ("other.example, api.example", WSS, False),
    ("ample", WSS, True),
    ("other.example", WSS, True),
    ("*", WSS, False),
    ("api.example:8443", "wss://api.example:8443/v1", False),
    ("api.example:8443", "wss://api.example:9443/v1", True),
    ("api.example:443", WSS, True),
    ("10.0.0.0/8", "wss://10.1.2.3/v1", False),
    ("10.0.0.0/8", "wss://11.1.2.3/v1", True),
    ("10.1.2.3", "ws://10.1.2.3:80/v1", False),
    ("localhost,127.0.0.1", "ws://127.0.0.1:8000/v1", False),
    ("::1", "ws://[::1]:8000/v1", False),
    ("", WSS, True),
]


@pytest.mark.parametrize(("environment", "url", "proxy"), ENVIRONMENT)
def test_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: Proxy | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url, None) == proxy


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("chosen", ["all_proxy", "wss_proxy"])
@pytest.mark.parametrize(("no_proxy", "url", "proxied"), NO_PROXY)
def test_no_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, chosen: str, no_proxy: str, url: str, proxied: bool
) -> None:
    chosen = chosen.replace("wss", url.partition(":")[0])
    monkeypatch.setenv(chosen, "http://one.local:3128")
    monkeypatch.setenv(variable, no_proxy)
    assert proxy_for(url, None) == (P1 if proxied else None)


@pytest.mark.parametrize(("no_proxy", "url", "proxied"), NO_PROXY)
def test_both_transports_take_the_same_way(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, proxied: bool
) -> None:
    """What requests itself would do for the same address over HTTP."""
    monkeypatch.setenv("https_proxy", "http://one.local:3128")
    monkeypatch.setenv("http_proxy", "http://one.local:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    over_http = url.replace("ws", "http", 1)
    with requests.Session() as session:
        settings = session.merge_environment_settings(over_http, {}, False, True, None)
    chosen = requests.utils.select_proxy(over_http, settings["proxies"])
    assert (chosen is not None) is proxied
    assert (proxy_for(url, None) is not None) is proxied


def test_an_explicit_proxy_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("wss_proxy", "http://one.local:3128")
    monkeypatch.setenv("no_proxy", "*")
    assert proxy_for(WSS, Secret("http://two.local:3128")) == P2


@pytest.mark.parametrize(
    ("url", "host", "port", "credentials"),
    [
        ("http://proxy.local", "proxy.local", 80, None),
        ("proxy.local", "proxy.local", 80, None),
        ("HTTP://Proxy.Local:8080", "proxy.local", 8080, None),
        (" http://proxy.local:1\n", "proxy.local", 1, None),
        ("http://10.0.0.1:3128", "10.0.0.1", 3128, None),
        ("http://[::1]:3128", "::1", 3128, None),
        ("http://prox\u00fd.local:3128", "xn--prox-8ra.local", 3128, None),
        ("http://user:pw@proxy.local:3128", "proxy.local", 3128, "user:pw"),
        ("user:pw@proxy.local:3128", "proxy.local", 3128, "user:pw"),
        ("http://us%40er:p%40%3A%2F%25@proxy.local:3128", "proxy.local", 3128, "us@er:p@:/%"),
        ("http://user:p@w@proxy.local:3128", "proxy.local", 3128, "user:p@w"),
        ("http://user:a:b@proxy.local:3128", "proxy.local", 3128, "user:a:b"),
        ("http://user:p%C3%BCw@proxy.local:3128", "proxy.local", 3128, "user:p\u00fcw"),
        ("http://user@proxy.local:3128", "proxy.local", 3128, "user:"),
        ("http://:pw@proxy.local:3128", "proxy.local", 3128, ":pw"),
        ("http://@proxy.local:3128", "proxy.local", 3128, None),
        ("http://user:pw@[::1]:3128", "::1", 3128, "user:pw"),
    ],
)
def test_parts_of_a_proxy_url(url: str, host: str, port: int, credentials: str | None) -> None:
    proxy = proxy_for(WSS, Secret(url))
    assert proxy == Proxy("http", host, port, None if credentials is None else Secret(credentials))
    assert "pw" not in repr(proxy)


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


UNUSABLE = [
    (f"SOCKS4://user:{SENTINEL}@proxy.local:1080", "only version 5 is supported"),
    (f"socks://user:{SENTINEL}@proxy.local:1080", "only version 5 is supported"),
    (f"socks5://user:{SENTINEL}{'x' * 255}@proxy.local:1080", "proxy must be a URL"),
    (f"socks5h://user:{SENTINEL}/@proxy.local:1080", "proxy must be a URL"),
    (f"https://user:{SENTINEL}@proxy.local:3128", "TLS to the proxy"),
    (f"ftp://user:{SENTINEL}@proxy.local:3128", "proxy must be a URL"),
    (f"//user:{SENTINEL}@proxy.local:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@proxy.local:0", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@proxy.local:65536", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@proxy.local:x", "proxy must be a URL"),
    (f"http://user:1/{SENTINEL}@proxy.local:3128", "proxy must be a URL"),
    (f"http://user:1?{SENTINEL}@proxy.local:3128", "proxy must be a URL"),
    (f"http://user:1#{SENTINEL}@proxy.local:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@proxy .local:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}\r\n@proxy.local:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@[::1", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@[zz]:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@[::1]x:3128", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@proxy\uff03.local", "proxy must be a URL"),
    (f"http://user:{SENTINEL}@a..b", "proxy must be a URL"),
]


@pytest.mark.parametrize(("url", "reason"), UNUSABLE)
@pytest.mark.parametrize("variable", [None, "https_proxy", "all_proxy", "wss_proxy"])
def test_a_proxy_that_cannot_be_used_is_refused_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, url: str, reason: str
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, url)
    report = refusal(lambda: proxy_for(WSS, Secret(url) if variable is None else None))
    assert reason in report
    assert "proxy" in report
    assert SENTINEL not in report


def test_an_empty_proxy_is_refused() -> None:
    assert "proxy must be a URL" in refusal(lambda: proxy_for(WSS, Secret("")))


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.parametrize(("settings", "asked"), [({}, False), ({"no": "x"}, False), ({"https": "x"}, True)])
def test_settings_of_the_system_are_looked_at_first(
    monkeypatch: pytest.MonkeyPatch, platform: str, settings: dict[str, str], asked: bool
) -> None:
    """Where the system has proxy settings, requests is asked only if there are any."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(urllib.request, "getproxies", lambda: settings)
    monkeypatch.setattr(requests.utils, "get_environ_proxies", lambda url: {"https": "http://one.local:3128"})
    assert proxy_for(WSS, None) == (P1 if asked else None)


@pytest.mark.parametrize("environment", [{}, {"NO_PROXY": "*"}, {"https_proxy": ""}])
def test_without_a_proxy_variable_nothing_heavy_is_imported(environment: dict[str, str]) -> None:
    code = (
        "import sys; from responses_ws._transport.net import proxy_for;"
        f"proxy_for({WSS!r}, None);"
        "print(sorted({'requests', 'certifi', 'urllib3'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("proxy", "host", "port", "request_"),
    [
        (P1, "api.example", 443, b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n"),
        (P1, "::1", 80, b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        (
            Proxy("http", "p", 1, Secret("user:p@w\u00fc")),
            "h",
            443,
            b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic dXNlcjpwQHfDvA==\r\n\r\n",
        ),
    ],
)
def test_the_request_for_a_tunnel(proxy: Proxy, host: str, port: int, request_: bytes) -> None:
    request = connect_request(proxy, host, port)
    assert bytes(request) == request_
    assert "dXNlc" not in repr(request)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def other() -> trustme.CA:
    return trustme.CA()


def pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


def shakes_hands(context: ssl.SSLContext, authority: trustme.CA, name: str = "api.example") -> str | None:
    """The ALPN of a handshake with a server that has the authority's certificate; None if it is refused."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("api.example").configure_cert(server_context)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server, client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError:
        return None
    return client.selected_alpn_protocol()


VARIABLES = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_names_the_only_authorities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: trustme.CA, other: trustme.CA, variable: str
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(pem(authority))
    monkeypatch.setenv(variable, str(bundle))
    context = tls_context()
    assert context.cert_store_stats()["x509_ca"] == 1
    assert shakes_hands(context, authority) == "http/1.1"
    assert shakes_hands(context, authority, "evil.example") is None
    assert shakes_hands(context, other) is None


@pytest.mark.parametrize("first", range(3))
def test_the_first_variable_that_is_set_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: trustme.CA, other: trustme.CA, first: int
) -> None:
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    good.write_bytes(pem(authority))
    bad.write_bytes(pem(other))
    for position, variable in enumerate(VARIABLES):
        monkeypatch.setenv(variable, "" if position < first else str(good if position == first else bad))
    assert shakes_hands(tls_context(), authority) == "http/1.1"


def test_a_variable_may_name_a_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: trustme.CA, other: trustme.CA
) -> None:
    (tmp_path / f"{subject_hash(authority)}.0").write_bytes(pem(authority))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert shakes_hands(tls_context(), authority) == "http/1.1"
    assert shakes_hands(tls_context(), other) is None


def subject_hash(authority: trustme.CA) -> str:
    """The name under which OpenSSL looks for an authority in a directory (X509_NAME_hash)."""
    subject = x509.load_pem_x509_certificate(pem(authority)).subject
    canonical = x509.Name(
        x509.NameAttribute(part.oid, str(part.value).lower(), _ASN1Type.UTF8String) for part in subject
    ).public_bytes()
    header = 2 if canonical[1] < 0x80 else 2 + (canonical[1] & 0x7F)
    digest = hashlib.sha1(canonical[header:], usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\x00\xff"])
def test_a_variable_that_names_no_certificates_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(ConfigurationError, match=variable) as caught:
        tls_context()
    assert "ca.pem" in str(caught.value)


def system_store(
    monkeypatch: pytest.MonkeyPatch, data: bytes | None = None, directory: Path | None = None
) -> None:
    """Make this the store of the system."""

    def load(context: ssl.SSLContext, purpose: Any = None) -> None:
        if data is not None:
            context.load_verify_locations(cadata=data.decode())

    paths = ssl.DefaultVerifyPaths(None, directory and str(directory), "", "", "", "")  # type: ignore[arg-type]
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: trustme.CA) -> None:
    """Make ``other`` the one authority that certifi has."""
    bundle = tmp_path / "certifi.pem"
    bundle.write_bytes(pem(other))
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))


@pytest.mark.usefixtures("bundled")
def test_the_system_comes_before_certifi(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, other: trustme.CA
) -> None:
    system_store(monkeypatch, pem(authority))
    context = tls_context()
    assert shakes_hands(context, authority) == "http/1.1"
    assert shakes_hands(context, other) is None


@pytest.mark.usefixtures("bundled")
@pytest.mark.parametrize("name", [None, "README", "ca.pem"])
def test_certifi_steps_in_when_the_system_has_no_authorities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: trustme.CA, name: str | None
) -> None:
    """No store at all, or a directory that holds nothing OpenSSL would find."""
    directory = tmp_path / "certs"
    directory.mkdir()
    if name is not None:
        (directory / name).touch()
    system_store(monkeypatch, directory=directory if name else None)
    assert shakes_hands(tls_context(), other) == "http/1.1"


@pytest.mark.usefixtures("bundled")
def test_a_directory_of_the_system_counts_though_it_is_read_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: trustme.CA
) -> None:
    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / "0a1b2c3d.0").touch()
    system_store(monkeypatch, directory=directory)
    assert shakes_hands(tls_context(), other) is None


def test_the_context_is_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Python was built to leave the TLS version to OpenSSL."""
    lenient = ssl.create_default_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lenient.minimum_version = ssl.TLSVersion.TLSv1
    monkeypatch.setattr(ssl, "create_default_context", lambda: lenient)
    context = tls_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname is True


def test_every_context_is_a_new_one() -> None:
    assert tls_context() is not tls_context()
