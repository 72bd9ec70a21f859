"""What the connection needs from a network: the seam at which tests put a scripted transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from responses_ws._core.parser import Payload
from responses_ws._core.secret import Secret
from responses_ws._transport.deadline import NEVER, Deadline
from responses_ws.messages import Limits, Timeouts

if TYPE_CHECKING:
    import socket
    import ssl

__all__ = ["Connector", "Hold", "Target", "Transport"]

Hold = Callable[["socket.socket"], None]
"""Told of the socket as soon as it exists, so that another thread can abort the connecting."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to and how.

    :param url: ``ws://`` or ``wss://``, the whole address.
    :param headers: extra headers of the upgrade, checked, values hidden.
    :param secrets: what is masked wherever the server echoes it.
    :param proxy: URL of the proxy, or None to ask the environment.
    """

    url: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    ssl_context: ssl.SSLContext | None = None
    proxy: Secret | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)


class Transport(Protocol):
    """One open connection.

    ``receive`` is called by one thread at a time, the reader's or that of a caller who waits for a response,
    and ``release`` by the reader's. Everything else may be called from any thread at any time; ``abort`` and
    ``forget`` take no lock that the calling thread could already hold.

    It may have a method ``wait(timeout: float | None) -> bool`` besides, called as ``receive`` is: wait up to
    ``timeout`` seconds (None: for ever), and tell whether ``receive(0)`` has anything to do. It takes nothing
    from the connection, so that whatever interrupts it costs nothing. Without it no caller reads.
    """

    headers: Mapping[str, str]
    """Headers of the upgrade response, names in lower case."""

    def receive(self, timeout: float | None) -> Sequence[Payload] | None:
        """Wait up to ``timeout`` seconds (None: for ever) for bytes.

        Returns the payloads of the text messages that are complete (UTF-8 not yet checked), an empty list
        when bytes came that completed none, None when no byte came. Pings are answered inside.

        Raises :class:`ConnectionLost`, :class:`ProtocolError` or :class:`PayloadTooLarge` once everything
        received before the end was returned.
        """

    def send(self, message: bytes, deadline: Deadline = NEVER) -> None:
        """Send one text message. When it raises, the message did not leave whole.

        Raises :class:`ConnectionLost`, or :class:`ResponseTimeout` after ``Timeouts.send`` seconds without
        progress, and at ``deadline``, that of the whole call.
        """

    @property
    def sending(self) -> bool:
        """Whether a message is being written at this moment."""

    def ping(self) -> None:
        """Send a ping as soon as the socket takes one. Never blocks, never raises."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame if the socket takes one now. Never blocks, never raises."""

    def abort(self) -> None:
        """Wake ``receive`` and end the connection without a frame. Never blocks, never raises."""

    def release(self) -> None:
        """Give the socket back; the reader's last deed. Another thread may still be in ``receive``."""

    def forget(self) -> None:
        """In a forked child: give up the inherited socket without a byte to the peer."""


class Connector(Protocol):
    """What ``client_class`` must offer."""

    def connect(self, target: Target, deadline: Deadline, hold: Hold) -> Transport:
        """Open a connection before ``deadline``. Runs in the reader thread.

        Raises :class:`ConnectionError`, :class:`HandshakeError`, or the :class:`ResponseError` class of a
        refusal that speaks about the caller.
        """


def unused(*_: Any) -> None:
    """A ``hold`` for those who have nobody to abort them."""
