"""Ingests a source: every file is decoded, good images are copied or stay in place, bad ones are quarantined."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.data.candidates import Candidate, Source, readable_name
from stages.graft.data.image_locations import image_path
from stages.graft.data.manifest import ManifestRow
from stages.graft.data.pixel_checks import PixelChecks, is_notable
from stages.graft.data.source_checks import BadImage, check_bad, check_classes, check_conflicts, check_kept
from stages.graft.images.decode import is_image
from stages.graft.images.inspection import ImageInfo, inspect
from stages.graft.storage.files import write_text
from stages.graft.storage.s3 import is_remote

OnConflict = Literal["error", "drop"]

IN_PLACE = "The images stay where they are: the column `address` of the manifest says where that is.\n"
"""Text of a file in the folder: DVC warns of an empty folder at every stage."""

_MAX_THREADS = 16
"""Each may hold a decoded image of the largest size."""


@dataclass(frozen=True, kw_only=True)
class Ingestion:
    """Result of the ingestion of a source."""

    source: Source
    """The source."""
    rows: tuple[ManifestRow, ...]
    """Images kept, each once; of identical files the first in order."""
    duplicates: tuple[tuple[str, str], ...]
    """Files left out, each with the file kept in its place: the same bytes, the same label."""
    conflicts: tuple[tuple[ManifestRow, ...], ...]
    """Files dropped: the same bytes, but not the same label or not the same split."""
    quarantined: tuple[BadImage, ...]
    """Images that cannot be used."""
    num_non_images: int
    """Files that are no images and do not claim to be, pipes and the like included."""
    pixels: PixelChecks
    """What decoding does to the pixels of the images kept."""

    def report(self) -> dict[str, Any]:
        """Give the record that the stage writes as JSON: counts, then the files they count."""
        return {
            "num_images": len(self.rows),
            "num_classes": len(self.source.classes),
            "num_quarantined": len(self.quarantined),
            "num_duplicates": len(self.duplicates),
            "num_conflicts": sum(len(files) for files in self.conflicts),
            "num_hidden": self.source.num_hidden,
            "num_non_images": self.num_non_images,
            **self.pixels.record(),
            "images_per_class": dict(sorted(Counter(row.label for row in self.rows).items())),
            "images_per_format": dict(sorted(Counter(row.format for row in self.rows).items())),
            "quarantined": [asdict(image) for image in self.quarantined],
            "duplicates": [{"file": file, "kept": kept} for file, kept in self.duplicates],
            "conflicts": [[{"file": row.file, "label": row.label} for row in files] for files in self.conflicts],
        }

    def __str__(self) -> str:
        """Give one line for the terminal."""
        left_out = {
            "quarantined": len(self.quarantined),
            "duplicates": len(self.duplicates),
            "dropped for conflicts": sum(len(files) for files in self.conflicts),
            "hidden": self.source.num_hidden,
            "not images": self.num_non_images,
        }
        counts = ", ".join(f"{count} {name}" for name, count in left_out.items() if count)
        images = f"{len(self.rows)} images in {len(self.source.classes)} classes"
        return f"{images}; left out: {counts}" if counts else images


def ingest(
    source: Source,
    folder: Path,
    on_conflict: OnConflict,
    max_bad_fraction: float,
    copy: bool = True,
    white_level: float | None = None,
) -> Ingestion:
    """Decode every image of a source and copy the good ones to a new folder, each named by its id.

    Args:
        source: an open source.
        folder: does not exist yet.
        on_conflict: whether identical files under two labels are an error or are left out, all of them.
        max_bad_fraction: of all images, the share that may be bad, [0, 1].
        copy: whether images are copied; if not, their rows say where they lie.
        white_level: as in `decode`.
    Raises:
        ParamsError: images are to stay in place that can be read from the open source only.
        DataError: fewer than two classes, a class without a good image, too many bad images, conflicting labels.
    """
    check_classes(source)
    folder.mkdir(parents=True)
    if not copy:
        _check_addresses(source)
        write_text(IN_PLACE, folder / "in_place.txt")
    waits = any(is_remote(candidate.address) for candidate in source.candidates)  # for a service, not for a processor
    num_threads = _MAX_THREADS if waits else min(num_cpus(), _MAX_THREADS)
    examiner = _Examiner(folder=folder if copy else None, white_level=white_level)
    results = in_threads(examiner.examine, source.candidates, num_threads)
    examined = list(bar(results, desc="ingest", unit="files", total=len(source.candidates)))
    good = [row for row in examined if isinstance(row, ManifestRow)]
    bad = tuple(image for image in examined if isinstance(image, BadImage))
    check_bad(bad, len(good), max_bad_fraction)
    rows, duplicates, conflicts = _merged(good)
    if on_conflict == "error":
        check_conflicts(conflicts)
    if copy:
        for row in (files[0] for files in conflicts):
            image_path(folder, row.id, row.format).unlink()
    check_kept(source, rows, bad)
    notable = {row.file: examiner.notable[row.file] for row in rows if row.file in examiner.notable}
    return Ingestion(
        source=source,
        rows=rows,
        duplicates=duplicates,
        conflicts=conflicts,
        quarantined=bad,
        num_non_images=examined.count(None) + source.num_special,
        pixels=PixelChecks(notable=notable, num_images=len(rows), white_level=white_level),
    )


def _check_addresses(source: Source) -> None:
    """See that every file can be read again where it lies."""
    if not all(candidate.address for candidate in source.candidates):
        raise ParamsError(
            f"`ingest.copy: false` needs images that are files in a folder, in S3 or in a list of them; {source.name} "
            "packs or generates them: set it to true"
        )


@dataclass(frozen=True, kw_only=True)
class _Examiner:
    """Decodes candidates, in many threads, and keeps the good ones."""

    folder: Path | None
    """Where images are copied to; None: they stay in place."""
    white_level: float | None
    """As in `decode`."""
    notable: dict[str, ImageInfo] = field(default_factory=dict)
    """By file: images with something to tell about their pixels."""

    def examine(self, candidate: Candidate) -> ManifestRow | BadImage | None:
        """Keep a good image and give its row; None for what does not claim to be an image."""
        file, label, data = candidate.file, candidate.label, b""
        try:
            data = candidate.read()
            info = inspect(data, self.white_level)
        except DataError as error:
            claimed = candidate.claims_to_be_image or is_image(data)
            return BadImage(file=file, label=label, reason=str(error)) if claimed else None
        if not label:
            return BadImage(file=file, label=label, reason="it lies outside the class folders and so has no label")
        if self.folder is None and readable_name(candidate.address) != candidate.address:
            return BadImage(file=file, label=label, reason="no table can hold its path (UTF-8, one line); rename it")
        if is_notable(info):
            self.notable[file] = info
        return self._keep(candidate, data, info)

    def _keep(self, candidate: Candidate, data: bytes, info: ImageInfo) -> ManifestRow:
        id_ = hashlib.sha256(data).hexdigest()
        if self.folder is not None:
            with suppress(FileExistsError), image_path(self.folder, id_, info.format).open("xb") as copy:
                copy.write(data)
        return ManifestRow(
            id=id_,
            file=candidate.file,
            label=candidate.label,
            group=candidate.group or readable_name(info.patient),
            split=candidate.split,
            width=info.width,
            height=info.height,
            format=info.format,
            mode=info.mode,
            address=candidate.address if self.folder is None else "",
        )


Merged = tuple[tuple[ManifestRow, ...], tuple[tuple[str, str], ...], tuple[tuple[ManifestRow, ...], ...]]


def _merged(good: Iterable[ManifestRow]) -> Merged:
    """Separate the images kept from their duplicates and from conflicts."""
    first: dict[str, ManifestRow] = {}
    more: defaultdict[str, list[ManifestRow]] = defaultdict(list)  # rare; a list for every image would weigh more
    for row in good:
        if first.setdefault(row.id, row) is not row:
            more[row.id].append(row)
    kept, duplicates, conflicts = [], [], []
    for id_, row in first.items():
        files = (row, *more.get(id_, ()))
        labels, splits = {file.label for file in files}, {file.split for file in files} - {""}
        if len(files) == 1:
            kept.append(row)
        elif len(labels) == 1 and len(splits) <= 1:
            group = next((file.group for file in files if file.group), "")
            kept.append(replace(row, group=group, split="".join(splits)))
            duplicates.extend([(file.file, row.file) for file in files[1:]])
        else:
            conflicts.append(files)
    return tuple(kept), tuple(duplicates), tuple(conflicts)
