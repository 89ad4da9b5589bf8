"""Forms as clients write them, and damaged ones."""

import pytest

from stages.graft.serving.limits import RefusedError
from stages.graft.serving.multipart import Part, boundary_of, read_parts

FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="\xc3\xbc \\"1\\".png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x00\xff\r\n--xy\r\n\r\n"
    b"--xyz\r\ncontent-disposition: form-data; name=note\r\n\r\n\r\n--xyz--\r\n"
)


def test_the_parts_of_a_form_come_back_with_every_byte():
    assert boundary_of("multipart/form-data; boundary=xyz") == b"xyz"
    assert list(read_parts(FORM, b"xyz", 2)) == [
        Part(field="image", file='ü "1".png', content=b"\x00\xff\r\n--xy\r\n"),
        Part(field="note", file="", content=b""),
    ]


def test_a_form_as_an_http_library_writes_it():
    from httpx2 import Request

    files = [("image", ("a.png", bytes(range(256)))), ("image", ("ü.png", b""))]
    request = Request("POST", "http://localhost/", files=files)
    parts = list(read_parts(request.read(), boundary_of(request.headers["content-type"]), 9))
    assert [(part.file, part.content) for part in parts] == [("a.png", bytes(range(256))), ("ü.png", b"")]


@pytest.mark.parametrize("type_", ["", "image/png", "application/octet-stream", "multipart/mixed; boundary=xyz"])
def test_other_bodies_have_no_boundary(type_):
    assert boundary_of(type_) is None


@pytest.mark.parametrize("type_", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 300}"])
def test_a_form_needs_a_boundary(type_):
    with pytest.raises(RefusedError, match="no boundary"):
        boundary_of(type_)


@pytest.mark.parametrize(("body", "status"), [(FORM[:-4], 400), (b"", 400), (b"--xyz\r\nno end\r\n--xyz--", 400)])
def test_a_damaged_form_is_refused(body, status):
    with pytest.raises(RefusedError) as caught:
        list(read_parts(body, b"xyz", 5))
    assert caught.value.status == status


def test_too_many_parts_are_refused():
    with pytest.raises(RefusedError, match="more than 1 parts") as caught:
        list(read_parts(FORM, b"xyz", 1))
    assert caught.value.status == 413
