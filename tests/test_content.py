"""Texts, images, files and audio become the service's input items; what cannot work says why, and where."""

from __future__ import annotations

import os
import pickle
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from responses_ws._core.content import input_items, output_content
from responses_ws.content import Audio, File, Image
from responses_ws.errors import ConfigurationError

PNG = b"\x89PNG\r\n\x1a\n----"
JPEG = b"\xff\xd8\xff\xe0----"
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 "
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "
MP3 = b"ID3\x04----"
PDF = b"%PDF-1.7"
TEXT = b"plain"


def encoded(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def text(content: str) -> dict[str, Any]:
    return {"type": "input_text", "text": content}


def user(content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": content}


class OddPath:
    def __fspath__(self):
        return b"bytes"


# -- from data


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (Image(PNG), {"type": "input_image", "image_url": encoded("image/png", PNG)}),
        (Image(bytearray(JPEG)), {"type": "input_image", "image_url": encoded("image/jpeg", JPEG)}),
        (Image(b"GIF89a-"), {"type": "input_image", "image_url": encoded("image/gif", b"GIF89a-")}),
        (Image(memoryview(WEBP)), {"type": "input_image", "image_url": encoded("image/webp", WEBP)}),
        (
            Image(TEXT, media_type="image/heic", detail="low"),
            {"type": "input_image", "image_url": encoded("image/heic", TEXT), "detail": "low"},
        ),
        (Image("https://a.example/b"), {"type": "input_image", "image_url": "https://a.example/b"}),
        (Image("HTTPS://a.example/B"), {"type": "input_image", "image_url": "https://a.example/B"}),
        (Image("Data:Image/PNG,A"), {"type": "input_image", "image_url": "data:Image/PNG,A"}),
        (
            Image("data:image/png;base64,AA=="),
            {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
        ),
        (
            Image(file_id="file-1", detail="original"),
            {"type": "input_image", "file_id": "file-1", "detail": "original"},
        ),
        (
            File(PDF, filename="a.bin-pdf"),
            {"type": "input_file", "filename": "a.bin-pdf", "file_data": encoded("application/pdf", PDF)},
        ),
        (
            File(TEXT, filename="notes.csv", detail="high"),
            {
                "type": "input_file",
                "filename": "notes.csv",
                "file_data": encoded("text/csv", TEXT),
                "detail": "high",
            },
        ),
        (
            File(TEXT, filename="what.unheard-of"),
            {
                "type": "input_file",
                "filename": "what.unheard-of",
                "file_data": encoded("application/octet-stream", TEXT),
            },
        ),
        (
            File(TEXT, filename="notes.csv.gz"),
            {
                "type": "input_file",
                "filename": "notes.csv.gz",
                "file_data": encoded("application/octet-stream", TEXT),
            },
        ),
        (
            File("data:text/plain;base64,AA==", filename="a.txt"),
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,AA=="},
        ),
        (File("Http://a.example/b.pdf"), {"type": "input_file", "file_url": "http://a.example/b.pdf"}),
        (
            File(TEXT, filename="half \ud83d.csv"),
            {
                "type": "input_file",
                "filename": "half \ufffd.csv",
                "file_data": encoded("text/csv", TEXT),
            },
        ),
        (File("http://a.example/b.pdf"), {"type": "input_file", "file_url": "http://a.example/b.pdf"}),
        (File(file_id="file-2"), {"type": "input_file", "file_id": "file-2"}),
        (
            Audio(WAV),
            {"type": "input_audio", "input_audio": {"data": b64encode(WAV).decode(), "format": "wav"}},
        ),
        (
            Audio(MP3),
            {"type": "input_audio", "input_audio": {"data": b64encode(MP3).decode(), "format": "mp3"}},
        ),
        (
            Audio(TEXT, format="mp3"),
            {"type": "input_audio", "input_audio": {"data": b64encode(TEXT).decode(), "format": "mp3"}},
        ),
    ],
)
def test_a_part_is_what_the_service_takes(made, part):
    """Field for field."""
    assert made.to_dict() == part


@pytest.mark.parametrize(
    ("name", "data", "make", "field", "value"),
    [
        ("cat.png", TEXT, Image, "image_url", encoded("image/png", TEXT)),
        ("cat.JPG", TEXT, Image, "image_url", encoded("image/jpeg", TEXT)),
        ("cat.webp", WEBP, Image, "image_url", encoded("image/webp", WEBP)),
        ("cat", PNG, Image, "image_url", encoded("image/png", PNG)),
        ("paper.pdf", TEXT, File, "file_data", encoded("application/pdf", TEXT)),
        ("paper.pdf", PDF, File, "filename", "paper.pdf"),
        ("a.mp3", TEXT, Audio, "input_audio", {"data": b64encode(TEXT).decode(), "format": "mp3"}),
        ("a.wav", TEXT, Audio, "input_audio", {"data": b64encode(TEXT).decode(), "format": "wav"}),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read_and_names_the_media_type(tmp_path, name, data, make, field, value, kind):
    """By its name, and where that says nothing by its first bytes."""
    path = tmp_path / name
    path.write_bytes(data)
    made = make(kind(path))
    path.unlink()
    assert made.to_dict()[field] == value


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (Image, "either source or file_id"),
        (lambda: Image(PNG, file_id="file-1"), "either source or file_id"),
        (lambda: Image(file_id=""), "file_id must be a non-empty str"),
        (lambda: Image(b""), "source is empty"),
        (lambda: Image(3), "source must be a path, bytes or a URL, not int"),
        (lambda: Image(TEXT), "source is no image but application/octet-stream"),
        (lambda: Image(PDF), "source is no image but application/pdf"),
        (lambda: Image("no/such/file.png"), "source cannot be read"),
        (lambda: Image("nul\0l.png"), "source cannot be read"),
        (lambda: File("."), "source cannot be read"),
        (lambda: File(PDF), "filename must be given"),
        (lambda: File("data:text/plain,a"), "filename must be given"),
        (lambda: Audio(TEXT), "format must be given"),
        (lambda: Audio("https://a.example/b.mp3"), "the service fetches no audio"),
        (lambda: Audio(None), "either source or file_id"),
        (lambda: Image(""), "source is empty"),
        (lambda: Image(PNG, detail=3), "detail must be a str or None, not int"),
        (lambda: Image(PNG, media_type=b"image/png"), "media_type must be a str or None, not bytes"),
        (lambda: File(PDF, filename=Path("a.pdf")), "filename must be a str or None, not PosixPath"),
        (lambda: File(PDF, filename="a.pdf", media_type=3), "media_type must be a str or None, not int"),
        (lambda: File(PDF, filename="a.pdf", detail=3), "detail must be a str or None, not int"),
        (lambda: Audio(TEXT, format=3), "format must be a str or None, not int"),
        (lambda: Image("data:text/plain,a"), "source is a data: URL of something else than an image"),
        (lambda: Image("data:"), "source is a data: URL of something else than an image"),
        (lambda: Image(OddPath()), "source cannot be read"),
        (lambda: Image("file:///etc/hosts"), "http, https or data URL, not file://"),
        (lambda: Image(open), "source must be a path, bytes or a URL, not builtin_function_or_method"),
    ],
)
def test_what_cannot_work_names_the_parameter(make, fault):
    """When it is made, not when it is sent."""
    with pytest.raises(ConfigurationError, match=fault):
        make()


@pytest.mark.parametrize(
    "source", ["s3://bucket/key?signature=sentinel", "FTP://user:sentinel@a.example/b.png", "sentinel" * 999]
)
@pytest.mark.parametrize("make", [Image, File, Audio])
def test_what_is_no_path_is_not_shown(make, source):
    """An address may hold a password, and a long text may be the data itself."""
    with pytest.raises(ConfigurationError) as caught:
        make(source)
    assert "sentinel" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_of_an_undecodable_name(tmp_path):
    """Python reads such a name as half characters, which no request can hold."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pdf")
    Path(path).write_bytes(PDF)
    made = File(path)
    assert made.to_dict()["filename"] == "caf\ufffd.pdf"
    assert repr(made) == "<File caf\ufffd.pdf, 8 bytes>"


def test_a_part_shows_nothing_of_what_is_in_it(tmp_path):
    """Neither its bytes, nor an address, which may be signed."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    assert repr(Image(path)) == "<Image cat.png, 12 bytes>"
    assert repr(Audio(WAV)) == "<Audio bytes, 16 bytes>"
    assert repr(File("https://a.example/?key=secret")) == "<File at an address>"
    assert repr(Image("data:image/png;base64,c2VjcmV0")) == "<Image in a data: URL>"
    assert repr(File(file_id="file-1")) == "<File file-1>"


def test_a_part_is_a_value():
    """Equal to one like it, and changed by nobody."""
    image = Image(PNG)
    image.to_dict()["detail"] = "low"
    assert image == Image(PNG) != Image(JPEG)
    assert pickle.loads(pickle.dumps(image)) == image  # noqa: S301


# -- to items


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ("hi", [user("hi")]),
        (["hi"], [user("hi")]),
        (("hi", "there"), [user([text("hi"), text("there")])]),
        (Image(PNG), [user([Image(PNG).to_dict()])]),
        (["What is this?", Image(PNG)], [user([text("What is this?"), Image(PNG).to_dict()])]),
        ([{"type": "input_text", "text": "a"}, "b"], [user([text("a"), text("b")])]),
        ({"type": "input_image", "file_id": "f"}, [user([{"type": "input_image", "file_id": "f"}])]),
        ({"role": "developer", "content": "Be brief."}, [{"role": "developer", "content": "Be brief."}]),
        (
            [{"type": "function_call_output", "call_id": "c", "output": "7"}, "and now?"],
            [{"type": "function_call_output", "call_id": "c", "output": "7"}, user("and now?")],
        ),
        (
            ["a", {"role": "developer", "content": "b"}, "c", "d"],
            [user("a"), {"role": "developer", "content": "b"}, user([text("c"), text("d")])],
        ),
        (
            {"role": "user", "content": ["Look:", Image(PNG), {"type": "input_text", "text": "x"}]},
            [{"role": "user", "content": [text("Look:"), Image(PNG).to_dict(), text("x")]}],
        ),
        ({"role": "user", "content": Image(PNG)}, [{"role": "user", "content": [Image(PNG).to_dict()]}]),
    ],
)
def test_what_is_asked_becomes_items(given, items):
    """Texts and parts in a row are one message; items stand for themselves."""
    assert input_items(given) == items


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (None, "input must be a str, an Image, File or Audio, a dict, or a list of these, not NoneType"),
        (b"PNG", "not bytes"),
        ([], "input is empty"),
        (["a", 3], r"input\[1\] must be .*, not int"),
        ([["a"]], r"input\[0\] must be .*, not list"),
        ({}, "input must have a type or a role"),
        ([{"content": "a"}], r"input\[0\] must have a type or a role"),
        ({"role": "user", "content": ["a", 7]}, r"input.content\[1\] must be .*, not int"),
    ],
)
def test_what_cannot_be_asked_names_its_place(given, fault):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=fault):
        input_items(given)


def test_the_caller_keeps_his_own():
    """A dict that is changed after it was asked changes nothing that was said."""
    item = {"role": "user", "content": [{"type": "input_text", "text": "a"}], "metadata": {"b": []}}
    items = input_items([item])
    item["content"][0]["text"] = item["metadata"]["b"] = "changed"
    assert items == [{"role": "user", "content": [text("a")], "metadata": {"b": []}}]


@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ("text", None),
        ({"a": 1}, None),
        (["a", "b"], None),
        ([], None),
        ([Image(PNG), {"a": 1}], None),
        (Audio(WAV), None),
        (Image(PNG), [Image(PNG).to_dict()]),
        (["half \ud83d", Image(PNG)], [text("half \ufffd"), Image(PNG).to_dict()]),
        (["Here:", File(PDF, filename="a.pdf")], [text("Here:"), File(PDF, filename="a.pdf").to_dict()]),
    ],
)
def test_a_tool_may_return_parts(returned, content):
    """Alone, or with texts; anything else is not for this function."""
    assert output_content(returned) == content
