"""A conversation: its history, its tools, and one verb to go on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._chat_options import Approve, ChatOptions, ToolLimits, as_schema
from responses_ws._chat_session import session_for
from responses_ws._chat_stream import ChatStream
from responses_ws._conversation import Conversation
from responses_ws._core.content import Input, input_items
from responses_ws._core.continuation import Ledger
from responses_ws._core.items import Item
from responses_ws._core.options import check_callable
from responses_ws._core.request import UNSET, Unset
from responses_ws._core.transcript import messages_of
from responses_ws._portable import Portable
from responses_ws._settings import given_credentials
from responses_ws._toolbox import AnyTool, Toolbox
from responses_ws._usage import OnUsage
from responses_ws.messages import Chunk, Limits, Message, Timeouts, Usage

if TYPE_CHECKING:
    import ssl

    from responses_ws._core.endpoint import Endpoint
    from responses_ws._core.retry import Retry
    from responses_ws._recovery import TransportName
    from responses_ws._transport.base import Connector
    from responses_ws.pool import ConnectionPool
    from responses_ws.session import Session

__all__ = ["Chat", "ChatStream"]

OnChunk = Callable[[Chunk], object]


class Chat(Portable):
    """A conversation with a model: :meth:`ask`, and what was said before is known.

    Functions given as ``tools`` are run when the model calls them, until it gives its answer. The history is
    kept here, so that the conversation survives the loss of whatever the service had kept: a lost connection,
    a response that is gone, another transport, another process (:meth:`save` and :meth:`load`).

    A completed step stays in the history. A step that failed leaves no trace: its input is not in
    ``messages``, while outputs of tools that ran are kept and sent with the next step.

    One thread uses a chat at a time, a second gets :class:`ConcurrencyError`; :meth:`cancel`, :meth:`close`
    and the properties may be used from any. Nothing is opened before the first question.

    :param model: the name of the model.
    :param tools: functions, and definitions such as those of :func:`web_search`.
    :param instructions: a system message; it is sent with every request.
    :param schema: see :meth:`with_schema`.
    :param store: whether the service keeps the responses; None leaves it to the service.
    :param session: what sends the requests, in place of ``pool``, ``tenant``, ``retry`` and the options of a
        connection; it stays the caller's to close.
    :param pool: whose connections are used, in place of one of its own and of the options of one.
    :param tenant: of the pool, whose connections no other tenant uses.
    :param max_rounds: of tools after one question, then :class:`ToolRoundsExceeded` is raised; None means no
        limit.
    :param max_parallel: tools that run at the same time.
    :param timeout_per_tool: seconds that a tool may take which has no timeout of its own; then the model is
        told so, and the tool is left behind. None means no limit.
    :param eager_tools: start a tool as soon as its arguments are known, while the answer still streams. If
        that answer then fails, the tool has run for nothing.
    :param approve: called in the asking thread with each :class:`ToolCall` before it is made, and with those
        of MCP servers that ask for it (``type`` is ``mcp_approval_request``). True lets it be made, False or
        a text (the reason) refuses it, a ToolCall with other arguments edits it; that of an MCP server cannot
        be edited. Not with ``eager_tools``.
    :param transport: ``auto`` (a WebSocket, and HTTP where that fails), ``websocket`` or ``http``.
    :param retry: what is sent again, and how often.
    :param on_usage: as for :class:`Session`.

    The other options are those of :class:`WebSocket`.

    :raises ConfigurationError: for what cannot work; the message names it.
    """

    def __init__(
        self,
        model: str,
        *,
        tools: Iterable[AnyTool] = (),
        instructions: str | None = None,
        schema: Any = None,
        store: bool | None = None,
        session: Session | None = None,
        pool: ConnectionPool | None = None,
        tenant: str | None = None,
        max_rounds: int | None = 25,
        max_parallel: int = 8,
        timeout_per_tool: float | None = None,
        eager_tools: bool = False,
        approve: Approve | None = None,
        transport: TransportName | None = None,
        retry: Retry | None = None,
        on_usage: OnUsage | None = None,
        api_key: str | Callable[[], str] | None = None,
        api_base: str | None = None,
        organization_id: str | None = None,
        project_id: str | None = None,
        client_class: Connector | None = None,
        response_timeout: float | None = 600,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        endpoint: Endpoint | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        allow_insecure: bool = False,
    ) -> None:
        # Hidden first of all: a traceback with locals shows the variables of every frame on it.
        credentials = given_credentials(api_key, headers, proxy)
        api_key = headers = proxy = None
        options = ChatOptions(
            model,
            toolbox=Toolbox(tools),
            instructions=instructions,
            schema=as_schema(schema),
            transport=transport,
            limits=ToolLimits(max_rounds, max_parallel, timeout_per_tool),
            eager_tools=eager_tools,
            approve=approve,
        )
        options = options.with_params({"store": store})
        check_callable("on_usage", on_usage)
        owned = session is None
        session = session_for(
            session,
            credentials,
            retry,
            client_class,
            pool=pool,
            tenant=tenant,
            api_base=api_base,
            organization_id=organization_id,
            project_id=project_id,
            response_timeout=response_timeout,
            timeouts=timeouts,
            limits=limits,
            endpoint=endpoint,
            ssl_context=ssl_context,
            allow_insecure=allow_insecure,
        )
        self._put_in(options, Conversation(session, Ledger(), on_usage), owns_session=owned)

    # -- asking

    def ask(self, input: Input, on_chunk: OnChunk | None = None) -> Message:
        """Ask, run the tools that the model calls, and wait for the answer.

        Calls that were open before and are not answered by the input are reported to the model as not made;
        those that ``eager_tools`` has begun, with their output or as being made. What ``approve`` was to
        approve for MCP servers is refused.

        :param input: a text, an :class:`Image`, :class:`File` or :class:`Audio`, a dict as the service
            defines it (an item, or a part of a message), or a list of these.
        :param on_chunk: called with each :class:`Chunk` of every response, in this thread.
        :raises ResponseError: the service refused or failed a response.
        :raises ConnectionError: not reached, or lost, or a clock ran out. Each error has ``partial``.
        :raises ToolError: a tool raised that is to raise. :class:`ToolRoundsExceeded`: the model wants more
            rounds than it may have; :meth:`run_tools` goes on.
        :raises RefusalError: with a schema, the model refused; :class:`IncompleteError`, the answer stopped
            early; :class:`SchemaError`, it does not fit.
        :raises ResponseCancelled: another thread called :meth:`cancel`, or the service cancelled a response.
        :raises ConcurrencyError: another thread uses the chat.
        :raises ConfigurationError: it cannot be sent; the message names what.
        """
        return _run(lambda: self.stream(input), on_chunk)

    def stream(self, input: Input) -> ChatStream:
        """Ask, and return as soon as the request has left. See :meth:`ask`."""
        return self._conversation.ask(self._options, input_items(input))

    def step(self, input: Input | None = None, on_chunk: OnChunk | None = None) -> Message:
        """Get one response, and leave the tools that it calls for the next step.

        Without an input the open calls are answered first. Between two steps ``tool_calls`` of the message
        can be looked at, or answered by an input of your own.

        :raises: what :meth:`ask` raises, but for :class:`ToolRoundsExceeded`.
        """
        items = None if input is None else input_items(input)
        return _run(lambda: self._conversation.step(self._options, items), on_chunk)

    def run_tools(
        self,
        max_rounds: int | Unset | None = UNSET,
        max_parallel: int | Unset = UNSET,
        timeout_per_tool: float | Unset | None = UNSET,
        *,
        on_chunk: OnChunk | None = None,
    ) -> Message:
        """Answer the open calls and go on until the model calls no more; the last message if there are none.

        This is how to go on after :class:`ToolRoundsExceeded`, after an interrupt, and after an error that
        came while the tools had run already: what ran is not run again.

        Calls that only the caller can answer stay open; with these, the last message is returned.

        The limits are those of the constructor; given here, they are for this time.

        :raises: what :meth:`ask` raises.
        """
        limits = self._options.limits
        options = self._options.but(
            limits=ToolLimits(
                limits.max_rounds if max_rounds is UNSET else max_rounds,
                limits.max_parallel if max_parallel is UNSET else max_parallel,
                limits.timeout_per_tool if timeout_per_tool is UNSET else timeout_per_tool,
            )
        )
        return _run(lambda: self._conversation.run_tools(options), on_chunk)

    # -- what there is

    @property
    def messages(self) -> list[Message]:
        """The history as messages, oldest first: roles ``user``, ``assistant``, ``tool`` and others as given.

        A message of the model is all that it said at once; the counts of its tokens are not kept.
        """
        return messages_of(self.items)

    @property
    def items(self) -> list[Item]:
        """The history as the service's items, copied, with the outputs of tools that wait to be sent."""
        return self._conversation.items

    @property
    def usage(self) -> Usage:
        """The tokens of all responses of this object added up, also of those that were left or failed.

        A count that is unknown for one of them is None from then on. Requests that the service rejected
        before it began a response count for nothing.
        """
        return self._conversation.usage

    @property
    def unfinished(self) -> bool:
        """Whether a call has no output that the model has seen; :meth:`run_tools` goes on.

        In a chat that had no open calls before the question, the question is then part of the history. Calls
        that only the caller can answer stay open; an approval that nobody gave, until the conversation has
        gone on without it.
        """
        return self._conversation.waiting

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain."""
        return self._conversation.ledger.last_response_id

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._options.model

    # -- what changes

    def with_params(self, **params: Any) -> Chat:
        """Set fields of the requests, such as ``temperature=0.2``; None takes one away. The chat itself.

        ``transport`` (``auto``, ``websocket``, ``http``) changes the way to the service, in mid-conversation
        too; ``compact_threshold`` (tokens) lets the service compact the history when it grows beyond.
        """
        return self._set(lambda options: options.with_params(params))

    def with_tools(self, *tools: AnyTool) -> Chat:
        """Offer these tools from now on, in place of those before. The chat itself."""
        toolbox = Toolbox(tools)
        return self._set(lambda options: options.but(toolbox=toolbox))

    def with_instructions(self, instructions: str | None) -> Chat:
        """Send this system message from now on; None sends none. The chat itself."""
        return self._set(lambda options: options.but(instructions=instructions))

    def with_model(self, model: str) -> Chat:
        """Ask this model from now on. The chat itself."""
        return self._set(lambda options: options.but(model=model))

    def with_schema(self, schema: Any) -> Chat:
        """Want answers of this type, which are found in ``message.parsed``; None wants text again.

        :param schema: a dataclass, a TypedDict, an Enum, ``list[...]`` and other types, a pydantic model, a
            JSON schema as a dict, or a :class:`Schema`.
        """
        made = as_schema(schema)
        return self._set(lambda options: options.but(schema=made))

    def compact(self) -> Chat:
        """Let the service shorten the history, which goes on from what it makes of it. The chat itself.

        What the user said stays readable, the rest becomes an item that only the service can read. The
        request goes over HTTP (``POST /responses/compact``), and the next one begins a new chain. With
        ``with_params(compact_threshold=...)`` the service compacts by itself, and keeps the chain.

        :raises: what :meth:`ask` raises; :class:`ConfigurationError` while calls wait for their outputs, or
            an approval to be given; the message tells the way out.
        """
        self._conversation.compact(self._options)
        return self

    # -- ending

    def cancel(self) -> None:
        """Stop what is running, if anything is. From any thread; the one that waits, or comes later to read a
        stream, gets :class:`ResponseCancelled`. The chat can go on.
        """
        self._conversation.cancel()

    def close(self) -> None:
        """Stop what is running and close the connection, if it is the chat's own. From any thread."""
        self._conversation.closed = True
        self.cancel()
        if self._owns_session:
            self._conversation.session.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_conversation"):
            return "<Chat unfinished>"  # in a traceback of the constructor
        return f"<Chat {self.model}, {len(self._conversation.ledger.items)} items>"

    def __reduce__(self) -> str:
        raise TypeError("a Chat cannot be pickled: it holds a key and a connection; see to_dict()")

    # -- inside

    def _set(self, change: Callable[[ChatOptions], ChatOptions]) -> Chat:
        with self._conversation.alone():
            self._options = change(self._options)
        return self


def _run(begin: Callable[[], ChatStream], on_chunk: OnChunk | None) -> Message:
    check_callable("on_chunk", on_chunk)
    stream = begin()
    try:
        return stream.run(on_chunk)
    finally:
        stream.close()  # an interrupt on the way into ``run`` keeps it from doing so, and nobody else can
