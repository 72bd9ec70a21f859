"""Tools for the model: functions of the program's own, and those that the service has built in.

::

    from typing import Literal

    from responses_ws import Chat
    from responses_ws.tools import tool, web_search

    @tool
    def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
        '''The weather in a city.

        :param city: its name, in English.
        '''
        return f"7 {unit} and rain in {city}"

    chat = Chat(model="gpt-5.5", tools=[get_weather, web_search()])

The type hints become the JSON schema of the arguments, the docstring describes the function and its
parameters (reST, Google or NumPy style). In strict mode the model has to name every parameter, and gives null
for one that has a default; then the default counts, unless the type has None itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeGuard, overload

from responses_ws._core.built_in_tools import (
    apply_patch,
    code_interpreter,
    computer_use,
    file_search,
    image_generation,
    mcp,
    shell,
    web_search,
)
from responses_ws._core.content import output_content
from responses_ws._core.fields import printable
from responses_ws._core.options import check_type, copied
from responses_ws._core.schema import check_name, document, read
from responses_ws._core.shape import Misfit, Shape
from responses_ws._core.shapes import ANYTHING
from responses_ws._core.signature import Signature
from responses_ws._core.tool_results import (
    Citation,
    CodeResult,
    FileResult,
    FileSearchResult,
    Image,
    Patch,
    ShellCall,
    ShellOutput,
    ToolResult,
    WebSearchResult,
    citations,
    code_results,
    file_search_results,
    images,
    patches,
    shell_calls,
    web_search_results,
)
from responses_ws._core.written import plain, to_json
from responses_ws._shown import shown, told
from responses_ws.errors import ConfigurationError, ResponsesWSError, ToolError
from responses_ws.messages import check_seconds

__all__ = [
    "Citation",
    "CodeResult",
    "FileResult",
    "FileSearchResult",
    "Image",
    "Patch",
    "ShellCall",
    "ShellOutput",
    "Tool",
    "ToolOutput",
    "ToolResult",
    "WebSearchResult",
    "apply_patch",
    "citations",
    "code_interpreter",
    "code_results",
    "computer_use",
    "custom_tool",
    "file_search",
    "file_search_results",
    "image_generation",
    "images",
    "mcp",
    "patches",
    "report",
    "shell",
    "shell_calls",
    "tool",
    "web_search",
    "web_search_results",
]

Function = Callable[..., Any]
Arguments = tuple[list[Any], dict[str, Any]]
OnError = Literal["report", "raise"]

ToolOutput = str | list[dict[str, Any]]
"""What a call is answered with: a text, or content items."""

CONTENT = ("input_text", "input_image", "input_file")
LONGEST_NAME = 128


class Tool:
    """A function that the model may call. Made by :func:`tool` and :func:`custom_tool`; still a function.

    Safe to use from several threads where the function is.

    :ivar name: what the model calls it.
    :ivar definition: what goes into the ``tools`` of a request.
    :ivar function: the function itself.
    :ivar on_error: whether the model is told of an error (``report``), or the caller (``raise``).
    :ivar timeout: seconds that one call may take in a tool loop; None leaves it to the loop.
    """

    def __init__(
        self,
        function: Function,
        definition: dict[str, Any],
        read: Callable[[str], Arguments],
        *,
        on_error: OnError = "report",
        timeout: float | None = None,
    ) -> None:
        if on_error not in ("report", "raise"):
            raise ConfigurationError(f"on_error must be 'report' or 'raise', not {shown(on_error)}")
        self.function = function
        self.definition = definition
        self.name: str = check_name(definition["name"], LONGEST_NAME)
        self.on_error: OnError = on_error
        self.timeout = check_seconds("timeout", timeout)
        self._read = read
        functools.update_wrapper(self, function, updated=())

    @classmethod
    def of(cls, tool: Tool | Function) -> Tool:
        """The tool itself, or that of a function. Raises :class:`ConfigurationError` for anything else."""
        return tool if isinstance(tool, Tool) else _function_tool(tool)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    def run(self, arguments: str) -> ToolOutput:
        """Call the function with what the model wrote.

        A str is the output as it is, and so is a list of content items (``input_text``, ``input_image``,
        ``input_file``), a ``responses_ws.Image`` or a ``responses_ws.File``, or a list of these and texts;
        any other result becomes JSON, dataclasses and pydantic models included.

        Raises :class:`ToolError` when the arguments do not fit, when the function raises (the exception is
        the cause) and when JSON cannot express the result. A ToolError of the function passes as it is, and
        so does what is no :class:`Exception`, such as KeyboardInterrupt.
        """
        given: object = arguments  # whatever the annotation says
        if not isinstance(given, str):
            raise self._error(
                f"the arguments for {self.name} must be the text of the model, not {type(given).__name__}"
            )
        try:
            args, kwargs = self._read(arguments)
        except Misfit as misfit:
            raise self._error(f"the arguments for {self.name} do not fit: {misfit}") from None
        try:
            result = self.function(*args, **kwargs)
        except ToolError:
            raise
        except Exception as error:
            raise self._error(f"{self.name} raised {told(error)}") from error
        if inspect.iscoroutine(result):
            result.close()
            raise self._error(f"{self.name} is async, and nothing here would await it")
        try:
            return _output(result)
        except Exception as error:  # what the result itself raises, too
            raise self._error(f"{self.name} returned what JSON cannot express: {told(error)}") from error

    def answer(self, arguments: str) -> ToolOutput:
        """The same, but a ToolError is put in words for the model, unless ``on_error`` is ``raise``."""
        try:
            return self.run(arguments)
        except ToolError as error:
            if self.on_error == "raise":
                raise
            return report(error)

    def _error(self, message: str) -> ToolError:
        return ToolError(message, tool=self.name)


def report(error: BaseException) -> str:
    """What the model is told of an error, as the output of its call."""
    said = error.message if isinstance(error, ResponsesWSError) else told(error)
    return printable(f"Error: {said}")


@overload
def tool(function: Function) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    strict: bool = True,
    on_error: OnError = "report",
    timeout: float | None = None,
) -> Callable[[Function], Tool]: ...
def tool(
    function: Function | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    strict: bool = True,
    on_error: OnError = "report",
    timeout: float | None = None,
) -> Tool | Callable[[Function], Tool]:
    """Make a function a tool, as ``@tool`` or with options as ``@tool(timeout=5)``.

    Functions, methods of an object, objects with ``__call__`` and :func:`functools.partial`, whose keywords
    the model neither sees nor sets. Every parameter needs a type: str, int, float, bool, None, Literal,
    enums, unions, lists, tuples, sets, dataclasses, TypedDict, NamedTuple, pydantic models, date, time,
    datetime, UUID, Decimal, Path, with ``Annotated[..., "a description"]`` around any of them; dict and Any
    with ``strict=False``.

    :param name: letters, digits, ``_`` and ``-``; by default that of the function.
    :param description: by default the docstring up to its first section.
    :param parameters: a JSON schema of the arguments, which goes as it is; the function is called with what
        the model wrote as keywords, and needs no types.
    :param strict: that the service holds the model to the schema.
    :param on_error: ``report`` tells the model what went wrong, ``raise`` raises :class:`ToolError`.
    :param timeout: seconds that one call may take in a tool loop; None leaves it to the loop.

    Raises :class:`ConfigurationError` naming the function and the parameter that cannot be described.
    """
    make = functools.partial(
        _function_tool,
        name=name,
        description=description,
        parameters=parameters,
        strict=strict,
        on_error=on_error,
        timeout=timeout,
    )
    return make if function is None else make(function)


@overload
def custom_tool(function: Function) -> Tool: ...
@overload
def custom_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    format: Mapping[str, Any] | None = None,
    on_error: OnError = "report",
    timeout: float | None = None,
) -> Callable[[Function], Tool]: ...
def custom_tool(
    function: Function | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    format: Mapping[str, Any] | None = None,
    on_error: OnError = "report",
    timeout: float | None = None,
) -> Tool | Callable[[Function], Tool]:
    """Make a function of one text a tool: the model writes free text and no JSON.

    :param format: the grammar that the text must follow, ``{"type": "grammar", "syntax": "lark" or "regex",
        "definition": ...}``; None is any text.

    The other options are those of :func:`tool`.
    """
    make = functools.partial(
        _custom_tool,
        name=name,
        description=description,
        format=format,
        on_error=on_error,
        timeout=timeout,
    )
    return make if function is None else make(function)


def _function_tool(
    function: Function,
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    strict: bool = True,
    **options: Any,
) -> Tool:
    check_type("strict", strict, bool)
    check_type("parameters", parameters, Mapping)
    signature = _signature(function)
    arguments: Shape = signature.arguments(strict=strict) if parameters is None else ANYTHING
    definition = {
        **_head("function", signature, name, description),
        "parameters": document(arguments) if parameters is None else copied("parameters", dict(parameters)),
        "strict": strict,
    }

    def arranged(text: str) -> Arguments:
        # Some models write nothing where nothing is asked.
        found = read(arguments, text if text.strip() else "{}")
        return found if parameters is None else ([], found)

    return Tool(function, definition, arranged, **options)


def _custom_tool(
    function: Function,
    *,
    name: str | None = None,
    description: str | None = None,
    format: Mapping[str, Any] | None = None,
    **options: Any,
) -> Tool:
    check_type("format", format, Mapping)
    signature = _signature(function)
    if not signature.takes_text():
        raise ConfigurationError(f"{signature.name} must take one argument, the text that the model wrote")
    definition = _head("custom", signature, name, description)
    if format is not None:
        definition["format"] = copied("format", dict(format))
    return Tool(function, definition, lambda text: ([text], {}), **options)


def _signature(function: Function) -> Signature:
    given: object = function  # whatever the annotation says
    if not callable(given) or isinstance(given, type):
        raise ConfigurationError(f"a tool must be a function or a Tool, not {type(given).__name__}")
    signature = Signature(function)
    if signature.is_async:
        raise ConfigurationError(f"{signature.name} is async, and nothing here would await it")
    return signature


def _head(kind: str, signature: Signature, name: str | None, description: str | None) -> dict[str, Any]:
    check_type("description", description, str)
    head = {"type": kind, "name": signature.name if name is None else name}
    text = signature.description if description is None else description
    return {**head, "description": text} if text else head


def _output(result: object) -> ToolOutput:
    if isinstance(result, str):
        return printable(str.__str__(result))
    content = output_content(result)
    if content is not None:
        return content
    value = plain(result)
    text = to_json(value)
    if not _is_content(value):
        return printable(text)
    text.encode()  # half a character cannot be sent
    return value


def _is_content(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    parts = value if isinstance(value, list) else []
    return bool(parts) and all(isinstance(part, dict) and part.get("type") in CONTENT for part in parts)
