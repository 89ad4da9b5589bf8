"""The parts of a form with files, from a body that is in memory already.

Source: RFC 7578, and RFC 2046, section 5.1: the boundary is in no part's content, so a body can be cut there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from stages.graft.serving.limits import RefusedError

MAX_HEADER_BYTES = 8192
"""Of a part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a form."""

    field: str
    """Name of the field."""
    file: str
    """The client's name of the file; empty when it gave none."""
    content: bytes
    """The file, or the value of the field."""


def boundary_of(content_type: str) -> bytes | None:
    """Give the boundary of a form with files; None for any other kind of body.

    Raises:
        RefusedError: it is a form without a boundary.
    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 200:
        raise RefusedError(400, "the form has no boundary; let your HTTP library write the header Content-Type")
    return boundary.encode("latin-1", "replace")


def read_parts(body: bytes, boundary: bytes, max_parts: int) -> Iterator[Part]:
    """Cut a form into its parts.

    Raises:
        RefusedError: it is not a whole form, or has too many parts.
    """
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, max_parts + 2)
    if len(pieces) > max_parts + 2:
        raise RefusedError(413, f"more than {max_parts} parts in a form; send fewer images in a request")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise RefusedError(400, "the form is cut off or damaged")
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank or len(head) > MAX_HEADER_BYTES:
            raise RefusedError(400, "a part of the form has no end of its headers")
        yield _part(head.lstrip(), content)


def _part(head: bytes, content: bytes) -> Part:
    headers = HeaderParser().parsestr(head.decode("utf-8", "replace"))
    field = headers.get_param("name", "", header="content-disposition")
    return Part(field=str(field), file=headers.get_filename(""), content=content)
