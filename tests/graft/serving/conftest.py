"""Images as bytes, and a project that is served without a socket."""

import io

import pytest

from tests.support.bundles import picture
from tests.support.served import write_served_project


def _png(shade, number):
    buffer = io.BytesIO()
    picture(shade, number).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def png():
    return _png(40, 1000)


@pytest.fixture
def other_png():
    return _png(210, 1001)


@pytest.fixture(scope="session")
def served_project(bundle_folder, tmp_path_factory):
    return write_served_project(bundle_folder, tmp_path_factory.mktemp("served"))
