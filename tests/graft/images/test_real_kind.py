import gzip
import io
import zipfile

import pytest

from stages.graft.core.errors import DataError
from stages.graft.images.decode import decode, is_image
from tests.support.pictures import encoded, pixels


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LFS, "not an image but a Git-LFS pointer; `git lfs pull` fetches the image"),
        (b"/annex/objects/SHA256E-s1--ab.jpg\n", "a git-annex pointer; `git annex get`"),
        (b"outs:\n- md5: 1f\n  path: a.png\n", "a DVC pointer; `dvc pull`"),
        (b"\n <!DOCTYPE HTML>\n<html>404", "not an image but an HTML page; download the image itself"),
        (b"<!-- a comment --><HTML>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'>", "an SVG drawing; save it as PNG"),
        (b"<?xml version='1.0'?><Error>", "an XML text"),
        (b'{"message": "not found"}', "a JSON text"),
        (b"%PDF-1.7\n", "not an image but a PDF; save its pages as PNG"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "not an image but a video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"\x1aE\xdf\xa3\x01", "a video"),
        (zipped(), "a zip file"),
        (gzip.compress(b"x", mtime=0), "an archive"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\xff\x0a\xff", "a JPEG XL image; save it as PNG or TIFF"),
        (b"hello", "not an image but a text file"),
        ("größer\n".encode(), "a text file"),
        ("größer".encode("utf-16"), "a text file"),
        (bytes(5000), "only zeros"),
        (b"\x13\x88\x9a\x11", "not an image in a known format (JPEG, PNG"),
        (b"\xff\xd8\xff\xe0", "damaged or truncated"),
    ],
)
def test_what_is_refused_is_called_by_its_real_kind(data, reason):
    with pytest.raises(DataError) as caught:
        decode(data)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not is_image(data)


def test_a_raw_photo_is_not_taken_for_its_preview():
    preview = encoded(pixels(1), "TIFF", tiffinfo={254: 1})
    with pytest.raises(DataError, match="only a preview"):
        decode(preview)
    assert is_image(preview)
