"""One connection of the scripted server: WebSocket over a wire, as the steps of a script need it."""

from __future__ import annotations

import contextlib
import json
import ssl
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF
from websockets.server import ServerProtocol

from responses_ws.testing.frames import MessageData, encode, frame
from responses_ws.testing.http import HttpSide, asks_for_no_upgrade
from responses_ws.testing.inbox import Inbox
from responses_ws.testing.interruptions import ClientGone, Closing, ScriptError
from responses_ws.testing.log import ConnectionRecord
from responses_ws.testing.served import Served
from responses_ws.testing.shared import Shared
from responses_ws.testing.upgrade import accept_upgrade, http_response
from responses_ws.testing.wire import Wire

if TYPE_CHECKING:
    from responses_ws.testing.model import Model
    from responses_ws.testing.model_memory import ModelConnection

__all__ = ["Connection"]

CLOSE_REPLY = 5.0
"""Seconds that a closing server waits for the client's close frame."""

END_OF_HEAD = b"\r\n\r\n"
CLOSE = bytes([0x80 | Opcode.CLOSE])
PONG = bytes([0x80 | Opcode.PONG])


class Connection(Served):
    """A connection that the server accepted; owned by its thread.

    A function given to ``run`` gets this object. It may use ``send``, ``send_raw``, ``receive``, ``wait``
    and ``record``, on the thread that calls it.

    :ivar answered: whether the upgrade request was answered.
    :ivar optional: whether the steps at hand may end with the client.
    :ivar answers_pings: whether pings get pongs.
    :ivar answers_close: whether the client's close frame gets one back.
    :ivar memories: what each model keeps with this connection.
    :ivar http: what the steps speak in place of WebSocket, once a request came that asks for no upgrade.
    """

    def __init__(
        self,
        wire: Wire,
        record: ConnectionRecord,
        shared: Shared,
        tls: ssl.SSLContext | None,
        model: Model | None,
    ) -> None:
        super().__init__(wire, record, shared)
        self.model = model
        self.answered = False
        self.optional = False
        self.answers_pings = True
        self.answers_close = True
        self.memories: dict[Model, ModelConnection] = {}
        self.http: HttpSide | None = None
        self._inbox = Inbox(record, shared)
        self._tls = tls
        self._protocol = ServerProtocol(max_size=None)
        self._head = b""
        self._close_sent = False

    # The upgrade

    def read_head(self) -> bytes:
        """The next HTTP request up to its empty line."""
        self.wait(lambda: END_OF_HEAD in self._head or self.over)
        head, found, rest = self._head.partition(END_OF_HEAD)
        if not found:
            raise ClientGone
        self._head = rest
        self._log("in", "handshake", head + found)
        return head + found

    def read_request(self) -> bytes:
        """The upgrade request; begins TLS where the server speaks it."""
        if self._tls and not self._wire.secure:
            self._head = self._wire.start_tls(self._tls, self._head)
        head = self.read_head()
        self.record.take_head(head)
        return head

    def read_body(self, length: int) -> bytes:
        """So many bytes that follow the head of a request."""
        self.wait(lambda: len(self._head) >= length or self.over)
        if len(self._head) < length:
            raise ClientGone
        body, self._head = self._head[:length], self._head[length:]
        return body

    def begin(self) -> None:
        """Take the first request: complete the upgrade that it asks for, or go on in HTTP."""
        head = self.take_request()
        if not self.http:
            self.upgrade(head)

    def take_request(self) -> bytes:
        """The next request, over HTTP with its body, for an answer of any kind; its head."""
        if self.http:
            self.http.receive()
            return b""
        head = self.read_request()
        if asks_for_no_upgrade(head):
            self.answered = True
            self.http = HttpSide(self)
            self.http.take(head)
        return head

    def accept(self, headers: Mapping[str, str]) -> None:
        """Complete the upgrade; ``headers`` are added to the answer or replace what it has."""
        self.upgrade(self.read_request(), headers)

    def upgrade(self, head: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Complete the upgrade that a head asks for."""
        response = accept_upgrade(self._protocol, head, headers or {})
        self._protocol.send_response(response)
        self._log("out", "handshake", response.serialize())
        self._flush_protocol()
        self.flush()
        if response.status_code != 101:
            raise ScriptError(f"no WebSocket upgrade: {self._protocol.handshake_exc}")
        self._begin()

    def refuse_address(self) -> None:
        """Answer the upgrade as the service does where it has none."""
        error = {"type": "invalid_request_error", "message": f"Invalid URL (GET {self.record.path})"}
        self.answered = True
        self.send_raw(http_response(404, {}, {"error": error}, None, "length"), kind="handshake")
        self.finish(notify=True)

    def answer(self, data: bytes) -> None:
        """Answer the upgrade with ``data`` as it is, and take the connection for upgraded."""
        self._protocol = ServerProtocol(state=OPEN, max_size=None)
        self._log("out", "handshake", data)
        self._begin()
        self.send_raw(data, kind=None)

    def _begin(self) -> None:
        self.answered = self._upgraded = True
        early, self._head = self._head, b""
        if early:
            self._feed(early)

    # Receiving

    def receive(self) -> dict[str, Any]:
        """The next message of the client, which must be a JSON object; over HTTP the body of a request.

        Raises :class:`ClientGone` when the client leaves first.
        """
        if self.http:
            return self.http.receive_create()
        message = self.receive_message()
        if isinstance(message, bytes):
            raise ScriptError("a binary message came")
        try:
            value = json.loads(message)
        except ValueError:
            raise ScriptError("a message came that is not JSON") from None
        if not isinstance(value, dict):
            raise ScriptError("a message came that is no JSON object")
        return value

    def receive_message(self) -> str | bytes:
        """The next message of the client, whatever it is."""
        return self._take(self._inbox.messages)

    def receive_ping(self) -> bytes:
        """The payload of the next ping of the client."""
        return self._take(self._inbox.pings)

    def receive_pong(self) -> bytes:
        """The payload of the next pong of the client."""
        return self._take(self._inbox.pongs)

    def _feed(self, data: bytes) -> None:
        if not self._upgraded:
            self._head += data
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._inbox.add(event)
        self._flush_protocol()
        if self._protocol.parser_exc is not None:
            self._check_fault(self._protocol.parser_exc, self._protocol.close_rcvd)

    def _check_fault(self, fault: Exception, close: Close | None) -> None:
        """The library refuses a close frame between two fragments, which RFC 6455, 5.4 allows."""
        if close is None:
            raise ScriptError(f"the client broke RFC 6455: {fault}")
        if self.record.close_code is None:
            payload = b"" if close.code == CloseCode.NO_STATUS_RCVD else close.serialize()
            self._inbox.add(Frame(Opcode.CLOSE, payload))

    # Sending

    def send(self, *messages: MessageData) -> None:
        """Send each message as text; over HTTP as an event of the answer.

        Raises :class:`ClientGone` when the client has left.
        """
        self._check_client()
        if self.http:
            self.http.send(*messages)
            return
        for message in messages:
            data = encode(message)
            self._protocol.send_text(data)
            self._flush_protocol()
            self._log("out", "text", data)
        self.flush()

    def send_binary(self, data: bytes) -> None:
        """Send one binary message."""
        self._check_client()
        self._protocol.send_binary(data)
        self._flush_protocol()
        self._log("out", "binary", data)
        self.flush()

    def send_fragment(self, data: bytes, *, first: bool, last: bool) -> None:
        """Send one frame of a text message; over HTTP a piece of an event."""
        self._check_client()
        if self.http:
            self.http.stream(b"%b%b%b" % (b"data: " * first, data, b"\n\n" * last))
            return
        if first:
            self._protocol.send_text(data, fin=last)
        else:
            self._protocol.send_continuation(data, fin=last)
        self._flush_protocol()
        self.flush()

    def log_message(self, data: bytes, frames: int = 1) -> None:
        """Note a message that is sent, in so many frames."""
        self._log("out", "text", data, frames)

    def send_ping(self, data: bytes) -> None:
        """Send a ping; over HTTP a comment."""
        self._check_client()
        if self.http:
            self.http.stream(b": ping\n\n")
            return
        self._protocol.send_ping(data)
        self._flush_protocol()
        self._log("out", "ping", data)
        self.flush()

    def send_raw(self, data: bytes, kind: str | None = "raw") -> None:
        """Send bytes past the protocol.

        Raises :class:`ClientGone` when the TCP connection has ended.
        """
        if kind:
            self._log("out", kind, data)
        if self.over:
            raise ClientGone
        self._wire.write(data)
        self.flush()

    def send_close(self, payload: bytes) -> None:
        """Send a close frame, whatever its payload."""
        self._check_client()
        self._close_sent = self._leaving = True
        self.send_raw(frame(payload, opcode=Opcode.CLOSE), kind="close")

    def close(self, code: int | None, reason: str = "") -> None:
        """Send a close frame, wait for the client's for a while, and end the sending direction.

        Over HTTP end the answer, then the connection.
        """
        if self.http:
            self.http.end_stream()
            self.finish(notify=True)
            return
        self.send_close(b"" if code is None else struct.pack(">H", code) + reason.encode())
        self.resume()
        with contextlib.suppress(Closing):
            self.wait(lambda: self.gone, CLOSE_REPLY)
        self.finish(notify=True)

    def _check_client(self) -> None:
        """Look at what has come before sending, so that a client that left is noticed."""
        if not self.over:
            self._turn(0)
        if self.gone or not (self.http or self._protocol.state is OPEN):
            raise ClientGone

    def _flush_protocol(self) -> None:
        for data in self._protocol.data_to_send():
            if data == SEND_EOF:
                self._end_after_close()
            elif data[:1] == PONG:
                self._reply("pong", data, wanted=self.answers_pings)
            elif data[:1] == CLOSE:
                self._reply("close", data, wanted=self.answers_close and not self._close_sent)
            else:
                self._wire.write(data)

    def _reply(self, kind: str, data: bytes, *, wanted: bool) -> None:
        if wanted:
            self._log("out", kind, data[2:])
            self._wire.write(data)

    def _end_after_close(self) -> None:
        """The server ends the TCP connection first (RFC 6455, 7.1.1), if it answers the client's close."""
        if self.answers_close:
            self._end_output(notify=True)

    # The end

    def idle(self) -> None:
        """The script is over: wait for the client to leave."""
        self.resume()
        self.wait(lambda: self.over or self._has_more())
        if self._has_more() and not self._leaving:
            raise ScriptError("a message came after the end of the script")
        self.wait(lambda: self.over)

    def _has_more(self) -> bool:
        return bool(self._inbox.messages or (self.http and self._head))

    def part(self, code: int, reason: str) -> None:
        """Take leave without waiting, as far as the client still listens."""
        listening = self._protocol.state is OPEN and not self.over and not self._leaving
        if listening and self.answers_close and not self.paused:
            payload = struct.pack(">H", code) + reason.encode()
            self._log("out", "close", payload)
            self._wire.write(frame(payload, opcode=Opcode.CLOSE))
            self._wire.finish(notify=True)
            self._wire.turn(0, 0)
