"""The tools that the service has built in, as the ``tools`` of a request name them.

Each function has the options that the service documents for its tool; None leaves one to the service, and
options that this version does not know pass as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from responses_ws._core.options import check_type
from responses_ws.errors import ConfigurationError

__all__ = [
    "apply_patch",
    "code_interpreter",
    "computer_use",
    "file_search",
    "image_generation",
    "mcp",
    "shell",
    "web_search",
]

Definition = dict[str, Any]
Options = Mapping[str, Any]
MemoryLimit = Literal["1g", "4g", "16g", "64g"]


def web_search(
    *,
    search_context_size: Literal["low", "medium", "high"] | None = None,
    user_location: Options | None = None,
    filters: Options | None = None,
    external_web_access: bool | None = None,
    **extra: Any,
) -> Definition:
    """Search the web.

    The pages that were searched come with the answer when the request has
    ``include=["web_search_call.action.sources"]``.

    :param search_context_size: how much of the context window the results may take; ``medium`` by default.
    :param user_location: any of ``city``, ``region``, ``country`` (two letters) and ``timezone`` (IANA).
    :param filters: ``allowed_domains``, a list; their subdomains are allowed too.
    :param external_web_access: False answers from the service's cache only.
    """
    check_type("user_location", user_location, Mapping)
    return _definition(
        "web_search",
        search_context_size=search_context_size,
        user_location=None if user_location is None else {"type": "approximate", **user_location},
        filters=filters,
        external_web_access=external_web_access,
        **extra,
    )


def file_search(
    vector_store_ids: str | Sequence[str],
    *,
    max_num_results: int | None = None,
    ranking_options: Options | None = None,
    filters: Options | None = None,
    **extra: Any,
) -> Definition:
    """Search the files of vector stores.

    The passages that were found come with the answer when the request has
    ``include=["file_search_call.results"]``.

    :param max_num_results: 1 to 50.
    :param ranking_options: ``ranker``, ``score_threshold`` (0 to 1), ``hybrid_search``.
    :param filters: on the attributes of files, ``{"type": "eq", "key": ..., "value": ...}`` and the like.
    """
    ids = _strings("vector_store_ids", vector_store_ids)
    if not ids:
        raise ConfigurationError("vector_store_ids must name a vector store")
    return _definition(
        "file_search",
        vector_store_ids=ids,
        max_num_results=max_num_results,
        ranking_options=ranking_options,
        filters=filters,
        **extra,
    )


def code_interpreter(
    container: str | None = None,
    *,
    file_ids: Sequence[str] | None = None,
    memory_limit: MemoryLimit | None = None,
    network_policy: Options | None = None,
    **extra: Any,
) -> Definition:
    """Run Python in a container of the service.

    What the code printed comes with the answer when the request has
    ``include=["code_interpreter_call.outputs"]``.

    :param container: the id of a container; None lets the service make one, with the options below.
    :param file_ids: uploaded files that the code may read.
    :param network_policy: ``{"type": "disabled"}`` or ``{"type": "allowlist", "allowed_domains": [...]}``.
    """
    automatic = _definition(
        "auto",
        file_ids=None if file_ids is None else _strings("file_ids", file_ids),
        memory_limit=memory_limit,
        network_policy=network_policy,
    )
    if container is not None and len(automatic) > 1:
        options = ", ".join(list(automatic)[1:])
        raise ConfigurationError(
            f"{options}: for a container that the service makes, not for one that is there"
        )
    return _definition("code_interpreter", container=automatic if container is None else container, **extra)


def image_generation(
    *,
    model: str | None = None,
    size: str | None = None,
    quality: str | None = None,
    background: Literal["transparent", "opaque", "auto"] | None = None,
    output_format: Literal["png", "webp", "jpeg", "gif", "svg"] | None = None,
    output_compression: int | None = None,
    partial_images: int | None = None,
    input_image_mask: Options | None = None,
    action: Literal["generate", "edit", "auto"] | None = None,
    **extra: Any,
) -> Definition:
    """Make and edit images.

    :param size: ``auto`` or ``WIDTHxHEIGHT`` in pixels.
    :param output_compression: 0 to 100.
    :param partial_images: how many unfinished images to stream, 0 to 3.
    :param input_image_mask: ``file_id`` or ``image_url`` of the part to change.
    """
    return _definition(
        "image_generation",
        model=model,
        size=size,
        quality=quality,
        background=background,
        output_format=output_format,
        output_compression=output_compression,
        partial_images=partial_images,
        input_image_mask=input_image_mask,
        action=action,
        **extra,
    )


def mcp(
    server_label: str,
    *,
    server_url: str | None = None,
    connector_id: str | None = None,
    tunnel_id: str | None = None,
    authorization: str | None = None,
    headers: Mapping[str, str] | None = None,
    allowed_tools: Sequence[str] | Options | None = None,
    require_approval: Literal["always", "never"] | Options | None = None,
    server_description: str | None = None,
    **extra: Any,
) -> Definition:
    """Use the tools of a server that speaks the Model Context Protocol.

    :param server_label: what the model's calls name the server by.
    :param server_url: where it is; or else ``connector_id`` or ``tunnel_id``.
    :param authorization: an OAuth access token for the server, which the service does not keep.
    :param headers: HTTP headers for the server.
    :param allowed_tools: names, or a filter with ``tool_names`` and ``read_only``; None allows all.
    :param require_approval: ``always`` (the service's default), ``never``, or ``{"always": filter}`` and
        ``{"never": filter}``.
    """
    _strings("server_label", [server_label])
    if (server_url, connector_id, tunnel_id).count(None) != 2:
        raise ConfigurationError("mcp needs one of server_url, connector_id and tunnel_id")
    if allowed_tools is not None and not isinstance(allowed_tools, Mapping):
        allowed_tools = _strings("allowed_tools", allowed_tools)
    return _definition(
        "mcp",
        server_label=server_label,
        server_url=server_url,
        connector_id=connector_id,
        tunnel_id=tunnel_id,
        authorization=authorization,
        headers=headers,
        allowed_tools=allowed_tools,
        require_approval=require_approval,
        server_description=server_description,
        **extra,
    )


def computer_use(
    *,
    display_width: int | None = None,
    display_height: int | None = None,
    environment: Literal["windows", "mac", "linux", "ubuntu", "browser"] | None = None,
    **extra: Any,
) -> Definition:
    """Operate a computer by screenshots, of which the program takes care.

    Without options it is the tool ``computer``. The older ``computer_use_preview``, for models that know no
    other, needs all three: pixels and the kind of system.
    """
    screen = {"display_width": display_width, "display_height": display_height, "environment": environment}
    missing = [name for name, value in screen.items() if value is None]
    if len(missing) == len(screen):
        return _definition("computer", **extra)
    if missing:
        raise ConfigurationError(f"the preview of computer use needs {', '.join(missing)} too")
    return _definition("computer_use_preview", **screen, **extra)


def shell(
    environment: Literal["container_auto", "local"] = "container_auto",
    *,
    container_id: str | None = None,
    file_ids: Sequence[str] | None = None,
    memory_limit: MemoryLimit | None = None,
    network_policy: Options | None = None,
    skills: Sequence[Options] | None = None,
    **extra: Any,
) -> Definition:
    """Run shell commands.

    :param environment: ``container_auto`` runs them in a container that the service makes; ``local`` leaves
        them to the program, which answers each ``shell_call`` with a ``shell_call_output``.
    :param container_id: the container to run them in instead.
    :param network_policy: ``{"type": "disabled"}`` or ``{"type": "allowlist", "allowed_domains": [...]}``.
    """
    _strings("environment", [environment])
    where = _definition(
        environment if container_id is None else "container_reference",
        container_id=container_id,
        file_ids=None if file_ids is None else _strings("file_ids", file_ids),
        memory_limit=memory_limit,
        network_policy=network_policy,
        skills=skills,
    )
    return _definition("shell", environment=where, **extra)


def apply_patch(**extra: Any) -> Definition:
    """Create, change and delete files by diffs, which the program applies."""
    return _definition("apply_patch", **extra)


def _definition(kind: str, **fields: Any) -> Definition:
    return {"type": kind, **{name: value for name, value in fields.items() if value is not None}}


def _strings(name: str, values: str | Sequence[str]) -> list[str]:
    given: object = [values] if isinstance(values, str) else values
    if not isinstance(given, Sequence) or not all(isinstance(value, str) and value for value in given):
        raise ConfigurationError(f"{name} must be made of non-empty strings")
    return list(given)
