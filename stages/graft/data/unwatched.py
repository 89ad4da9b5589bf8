"""Files that `ingest` reads and DVC does not hash: the images of a list, and those in linked folders.

Their size and time of change are kept beside the outputs of `ingest`, on this machine only, and compared later.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import LIST_SUFFIXES, Source
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.open_source import open_source
from stages.graft.storage.files import write_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.s3 import is_remote, objects_below

RECORD = Path("data/unwatched.json")
"""No output of the stage and not in git, since times of change differ between machines."""

Listing = dict[str, str]
"""From the address of a file to its size and its time of change or, in S3, its ETag; without files that are gone."""


def list_unwatched(*sources: Source) -> Listing:
    """List the files of open sources whose changes DVC does not notice."""
    unwatched = [address for source in sources for address in source.unwatched]
    remote = [address for address in unwatched if is_remote(address)]
    here = [address for address in unwatched if not is_remote(address)]
    return dict(sorted([*_listed_here(here), *_listed_remote(remote)]))


def write_unwatched(listing: Listing, report: Path, record: Path = RECORD) -> None:
    """Record a listing together with the report of the run that read the files; an empty one removes the record."""
    if listing:
        write_json({"report": sha256_of(report), "files": listing}, record)
    else:
        record.unlink(missing_ok=True)


def describe_unwatched(listing: Listing) -> list[str]:
    """Give the line about files that DVC does not watch, if there are any."""
    if not listing:
        return []
    return [f"DVC does not watch {len(listing)} of these files; `graft repro` notices when they change"]


def reason_to_ingest(params: IngestParams, cache: Path, report: Path, record: Path = RECORD) -> str | None:
    """Say why `ingest` must run although DVC sees no change; None when it need not.

    Args:
        params: of the stage.
        cache: as in `open_source`.
        report: of the last run of `ingest`, which may have been restored from DVC's cache.
        record: what `write_unwatched` wrote.
    """
    listing = Listing()
    for name, rules in ((params.source, params.rules), (params.unlabelled, params.rules_of_unlabelled)):
        if is_remote(name) or not (Path(name).is_dir() or name.lower().endswith(LIST_SUFFIXES)):
            continue  # DVC hashes an archive, and looks at the state of what has an address
        try:
            with open_source(name, cache, rules=rules) as source:
                listing |= list_unwatched(source)
        except DataError:
            return f"{name} cannot be opened now"  # ingest says why
    if not listing:
        return None
    recorded = _recorded(report, record)
    if recorded is None:
        return f"DVC does not watch {len(listing)} files of the source, and no earlier look at them is recorded"
    changed = [address for address, _ in sorted(recorded.items() ^ listing.items())]
    if not changed:
        return None
    return f"{len(set(changed))} files that DVC does not watch have changed, such as {changed[0]}"


def changed_files(report: Path, record: Path = RECORD) -> list[str]:
    """List recorded files on this machine that have changed or gone since; none without a record of this report."""
    recorded = _recorded(report, record) or {}
    before = {address: state for address, state in recorded.items() if not is_remote(address)}
    now = dict(_listed_here(before))
    return [address for address, state in before.items() if now.get(address) != state]


def _recorded(report: Path, record: Path) -> Listing | None:
    """Read the record, if it is of this report."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return dict(content["files"]) if content["report"] == sha256_of(report) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _listed_here(addresses: Iterable[str]) -> Iterator[tuple[str, str]]:
    for address in addresses:
        try:
            state = Path(address).stat()
        except OSError:
            continue
        yield address, f"{state.st_size} {state.st_mtime_ns}"


def _listed_remote(addresses: Iterable[str]) -> Iterator[tuple[str, str]]:
    folders = defaultdict[str, set[str]](set)
    for address in addresses:
        folders[address.rpartition("/")[0]].add(address)
    for folder, wanted in folders.items():
        for item in objects_below(folder):
            if item.address in wanted:
                yield item.address, f"{item.size} {item.etag}"
