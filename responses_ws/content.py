"""Images, files and audio to ask about: from a path, from bytes, from a URL, or uploaded before."""

from __future__ import annotations

import errno
import mimetypes
import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Any, NamedTuple

from responses_ws._core.content import Part, data_url, media_type_of
from responses_ws._core.fields import printable
from responses_ws._core.options import check_type
from responses_ws.errors import ConfigurationError

__all__ = ["Audio", "File", "Image"]

Source = str | bytes | os.PathLike[str]

WEB = ("http://", "https://")
DATA = "data:"
ADDRESS = re.compile(r"(data:|[a-z][a-z0-9+.-]+://)(.*)", re.IGNORECASE | re.DOTALL)
"""How an address begins, with its scheme (RFC 3986, 3.1), and the rest of it. One letter is a drive."""
IMAGE_ADDRESS = re.compile(r"https?://|data:image/", re.IGNORECASE)
UNKNOWN = "application/octet-stream"
AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
}
"""The service's name for a format, by media type."""


class Image(Part):
    """An image (``input_image``).

    :param source: a path, the bytes of an image file, an ``http(s)://`` address that the service fetches, or
        a ``data:`` URL. A path is read here and now.
    :param file_id: in place of a source, the id of an uploaded file.
    :param media_type: such as ``image/png``; None takes it from the file's name, or else from its first bytes
        (PNG, JPEG, GIF and WebP are known).
    :param detail: ``low``, ``high``, ``original`` or ``auto``; None leaves it to the service.
    :raises ConfigurationError: what was given is no image, cannot be read or cannot be told.
    """

    __slots__ = ()

    def __init__(
        self,
        source: Source | None = None,
        *,
        file_id: str | None = None,
        media_type: str | None = None,
        detail: str | None = None,
    ) -> None:
        check_type("media_type", media_type, str)
        given = _given(source, file_id)
        fields: dict[str, Any] = {"type": "input_image", **_optional(detail=detail)}
        if file_id is not None:
            fields["file_id"] = file_id
        elif given.url is not None:
            if not IMAGE_ADDRESS.match(given.url):
                raise ConfigurationError("source is a data: URL of something else than an image")
            fields["image_url"] = given.url
        else:
            kind = _media_type(given, media_type)
            if not kind.startswith("image/"):
                raise ConfigurationError(f"source is no image but {kind}; if it is one, give its media_type")
            fields["image_url"] = data_url(given.data, kind)
        super().__init__(fields, _label(given, file_id))


class File(Part):
    """A file, such as a PDF (``input_file``).

    :param source: a path, bytes, an ``http(s)://`` address that the service fetches, or a ``data:`` URL. A
        path is read here and now.
    :param file_id: in place of a source, the id of an uploaded file.
    :param filename: what the model is told; None takes the name of the path. Bytes need one.
    :param media_type: such as ``application/pdf``; None takes it from the name, or else from the first bytes.
    :param detail: ``low``, ``high`` or ``auto``; None leaves it to the service.
    :raises ConfigurationError: what was given cannot be read or has no name.
    """

    __slots__ = ()

    def __init__(
        self,
        source: Source | None = None,
        *,
        file_id: str | None = None,
        filename: str | None = None,
        media_type: str | None = None,
        detail: str | None = None,
    ) -> None:
        check_type("filename", filename, str)
        check_type("media_type", media_type, str)
        given = _given(source, file_id)
        given = given._replace(name=filename or given.name)
        fields: dict[str, Any] = {"type": "input_file", **_optional(detail=detail)}
        if file_id is not None:
            fields["file_id"] = file_id
        elif given.url is not None and given.url.startswith(WEB):
            fields["file_url"] = given.url
        elif given.name is None:
            raise ConfigurationError("filename must be given: bytes have no name")
        else:
            fields["filename"] = printable(given.name)
            fields["file_data"] = given.url or data_url(given.data, _media_type(given, media_type))
        super().__init__(fields, _label(given, file_id))


class Audio(Part):
    """A recording (``input_audio``), for models that hear.

    :param source: a path or bytes; the service takes no address. A path is read here and now.
    :param format: ``mp3`` or ``wav``, which are all that the service names; None takes it from the file's
        name, or else from its first bytes.
    :raises ConfigurationError: what was given cannot be read, or its format cannot be told.
    """

    __slots__ = ()

    def __init__(self, source: Source, *, format: str | None = None) -> None:
        check_type("format", format, str)
        given = _given(source, None)
        if given.url is not None:
            raise ConfigurationError("source must be a path or bytes: the service fetches no audio")
        known = format or AUDIO_FORMATS.get(_media_type(given, None))
        if known is None:
            raise ConfigurationError("format must be given: neither name nor content tells mp3 or wav")
        audio = {"data": b64encode(given.data).decode("ascii"), "format": known}
        super().__init__({"type": "input_audio", "input_audio": audio}, _label(given, None))


class Given(NamedTuple):
    """What a source turned out to be: data, perhaps with a name, or else a URL."""

    data: bytes = b""
    name: str | None = None
    url: str | None = None


def _given(source: Source | None, file_id: str | None) -> Given:
    if (source is None) == (file_id is None):
        raise ConfigurationError("give either source or file_id")
    if source is None:
        if not isinstance(file_id, str) or not file_id:
            raise ConfigurationError("file_id must be a non-empty str")
        return Given()
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _not_empty(Given(bytes(source)))
    address = ADDRESS.fullmatch(source) if isinstance(source, str) else None
    if address is not None:
        return Given(url=_address(address[1].lower(), address[2]))
    if source == "":
        raise ConfigurationError("source is empty")
    if isinstance(source, (str, os.PathLike)):
        return _read(source)
    raise ConfigurationError(f"source must be a path, bytes or a URL, not {type(source).__name__}")


def _address(scheme: str, rest: str) -> str:
    """The address with its scheme in the usual form. It is never shown, for it may hold a password."""
    if scheme not in (*WEB, DATA):
        raise ConfigurationError(
            f"source must be a path, bytes or an http, https or data URL, not {scheme}..."
        )
    return scheme + rest


def _read(source: str | os.PathLike[str]) -> Given:
    try:
        path = Path(source)
        data = path.read_bytes()
    except (OSError, TypeError, ValueError) as error:  # ValueError: a null character in the name
        if getattr(error, "errno", None) == errno.ENAMETOOLONG:
            raise ConfigurationError(
                "source is too long for a path; if it is data, give it as bytes"
            ) from None
        raise ConfigurationError(f"source cannot be read: {error}") from error
    return _not_empty(Given(data, path.name))


def _not_empty(given: Given) -> Given:
    if not given.data:
        raise ConfigurationError("source is empty")
    return given


def _media_type(given: Given, told: str | None) -> str:
    """What the caller says, else what the name says, else what the first bytes say."""
    named, encoding = mimetypes.guess_type(given.name or "", strict=False)
    return told or (named if encoding is None else None) or media_type_of(given.data) or UNKNOWN


def _optional(**fields: str | None) -> dict[str, str]:
    for name, value in fields.items():
        check_type(name, value, str)
    return {name: value for name, value in fields.items() if value is not None}


def _label(given: Given, file_id: str | None) -> str:
    """What a repr shows: a name or a size. An address may hold a signature, so only its kind is told."""
    if file_id is not None:
        return file_id
    if given.url is not None:
        return "at an address" if given.url.startswith(WEB) else "in a data: URL"
    return f"{printable(given.name or 'bytes')}, {len(given.data)} bytes"
