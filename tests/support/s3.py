"""A bucket of a local S3 server, filled and changed without the code under test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support.servers import BUCKET, S3_KEYS, s3_server

NOTHING_ELSE = {
    "AWS_EC2_METADATA_DISABLED": "true",  # otherwise boto asks another machine for keys
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}
"""Only the environment gives keys."""


class Bucket:
    """The bucket; the server accepts any keys until `look_at_keys`."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.endpoint = endpoint
        self.environment = {**S3_KEYS, **NOTHING_ELSE, "AWS_ENDPOINT_URL": endpoint}
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=S3_KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=S3_KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=S3_KEYS["AWS_DEFAULT_REGION"],
        )

    def put(self, key: str, data: bytes = b"") -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def put_folder(self, prefix: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def look_at_keys(self, after: int) -> None:
        """Refuse wrong keys after this number of requests."""
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.endpoint}/moto-api/reset-auth", str(after).encode(), plain), timeout=20).close()


@contextmanager
def bucket_server(folder: Path) -> Iterator[Bucket]:
    """Run the server; its log is in the folder."""
    with s3_server(folder) as server:
        yield Bucket(server.address)


def use(environment: Mapping[str, str], patch: pytest.MonkeyPatch) -> None:
    """Set the environment and remove the client, which has read the one before."""
    from stages.graft.storage import s3

    s3._connected.cache_clear()
    for name, value in environment.items():
        patch.setenv(name, value)
