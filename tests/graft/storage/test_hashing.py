import hashlib

import pytest

from stages.graft.core.errors import ParamsError, WeightsError
from stages.graft.storage.hashing import check_sha256, fingerprint_of, sha256_of

DATA = b"bytes of a file"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(DATA)
    return path


def test_a_file_with_the_expected_hash_in_lower_or_upper_case_passes(path):
    assert sha256_of(path) == SHA256
    check_sha256(path, SHA256, "`ingest.sha256`", ParamsError)
    check_sha256(path, SHA256.upper(), "`ingest.sha256`", ParamsError)


def test_another_file_is_named_with_both_hashes_and_the_parameter(path):
    with pytest.raises(ParamsError, match=f"a.zip has SHA-256 {SHA256}, but `ingest.sha256` says {'0' * 64}"):
        check_sha256(path, "0" * 64, "`ingest.sha256`", ParamsError)


def test_a_git_lfs_pointer_is_named(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1")
    with pytest.raises(WeightsError, match=r"a.zip is a Git-LFS pointer.*git lfs pull"):
        check_sha256(path, SHA256, "`backbone.sha256`", WeightsError)


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    assert fingerprint_of({"a": 1, "b": 2}) != fingerprint_of({"a": 1, "b": 3})
