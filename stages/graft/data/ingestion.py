"""Ingests a source: every file is decoded, good images are copied or stay in place, bad ones are quarantined."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.memory import one_image
from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.data.candidates import Candidate, Source, readable_name
from stages.graft.data.class_names import check_names
from stages.graft.data.given_labels import NOTHING_GIVEN, Decision, GivenLabels, give_labels
from stages.graft.data.image_locations import image_name
from stages.graft.data.ingest_params import IngestParams
from stages.graft.data.manifest import ManifestRow
from stages.graft.data.pixel_checks import PixelChecks, is_notable
from stages.graft.data.source_checks import (
    BadImage,
    check_bad,
    check_classes,
    check_conflicts,
    check_kept,
    check_number,
    folders_of_documents,
    quoted,
)
from stages.graft.data.splits import SPLITS
from stages.graft.images.decode import is_image
from stages.graft.images.inspection import ImageInfo, inspect
from stages.graft.images.pixel_limit import in_pixels
from stages.graft.storage.files import write_text
from stages.graft.storage.packs import PackWriter, WaitingFile
from stages.graft.storage.s3 import is_remote

IN_PLACE = "The images stay where they are: the column `address` of the manifest says where that is.\n"
"""Text of a file in the folder: DVC warns of an empty folder at every stage."""

_MAX_THREADS = 16


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
    classes_left_out: dict[str, int]
    """Images of each class left out because it has fewer than `min_images_per_class`."""
    without_images: tuple[str, ...]
    """Folders beside the classes that hold documents, but no image."""
    unlabelled: tuple[ManifestRow, ...] = ()
    """Images without a label, each once, none of them labelled."""
    quarantined_unlabelled: tuple[BadImage, ...] = ()
    """Images without a label that cannot be used."""
    given: GivenLabels = NOTHING_GIVEN
    """What labels that were given later did."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes kept, sorted."""
        return tuple(sorted({row.label for row in self.rows}))

    def report(self) -> dict[str, Any]:
        """Give the record that the stage writes as JSON: counts, then the files they count."""
        return {
            "num_images": len(self.rows),
            "num_classes": len(self.classes),
            "num_quarantined": len(self.quarantined),
            "num_duplicates": len(self.duplicates),
            "num_conflicts": sum(len(files) for files in self.conflicts),
            "num_unlabelled": len(self.unlabelled),
            "num_quarantined_unlabelled": len(self.quarantined_unlabelled),
            "num_hidden": self.source.num_hidden,
            "num_non_images": self.num_non_images,
            **self.pixels.record(),
            "num_unwatched": len(self.source.unwatched),
            "images_per_class": dict(sorted(Counter(row.label for row in self.rows).items())),
            "images_per_format": dict(sorted(Counter(row.format for row in self.rows).items())),
            "images_per_given_split": self._given_splits(),
            "classes_left_out": self.classes_left_out,
            "folders_without_images": list(self.without_images),
            "labels_given": self.given.record(),
            "quarantined": [asdict(image) for image in self.quarantined],
            "quarantined_unlabelled": [asdict(image) for image in self.quarantined_unlabelled],
            "duplicates": [{"file": file, "kept": kept} for file, kept in self.duplicates],
            "conflicts": [[{"file": row.file, "label": row.label} for row in files] for files in self.conflicts],
        }

    def _given_splits(self) -> dict[str, int]:
        counts = Counter(row.split for row in self.rows)
        return {split: counts[split] for split in SPLITS if counts[split]}

    def __str__(self) -> str:
        """Give one line for the terminal."""
        rare = self.classes_left_out
        left_out = {
            "quarantined": len(self.quarantined),
            "duplicates": len(self.duplicates),
            "dropped for conflicts": sum(len(files) for files in self.conflicts),
            f"in classes with too few ({quoted(rare)})": sum(rare.values()),
            "hidden": self.source.num_hidden,
            "not images": self.num_non_images,
        }
        line = f"{len(self.rows)} images in {len(self.classes)} classes"
        if self.unlabelled or self.quarantined_unlabelled:
            line += f", {len(self.unlabelled)} without labels"
            line += f" ({num_bad} damaged)" if (num_bad := len(self.quarantined_unlabelled)) else ""
        if given := self._given_splits():
            line += f"; splits of the source: {', '.join(f'{count} {split}' for split, count in given.items())}"
        if counts := ", ".join(f"{count} {name}" for name, count in left_out.items() if count):
            line += f"; left out: {counts}"
        if self.without_images:
            line += f"; no classes, since they hold no image: {quoted(self.without_images)}"
        return line


Decisions = Sequence[Decision]
"""Labels given later, in the order in which they were given."""


def ingest(
    source: Source, folder: Path, params: IngestParams, unlabelled: Source | None = None, decisions: Decisions = ()
) -> Ingestion:
    """Decode every image of a source and copy the good ones, each named by its id, to packs in a new folder.

    Args:
        source: an open source.
        folder: does not exist yet.
        params: `source` and what says how to open it are not read here.
        unlabelled: an open source of images without labels.
        decisions: labels given later, as `read_decisions` orders them.
    Raises:
        ParamsError: images are to stay in place that can be read from the open source only.
        DataError: fewer than two classes, a class without a good image, too many bad images, conflicting labels.
    """
    check_classes(source)
    folder.mkdir(parents=True)
    if not params.copy_:
        _check_addresses(source)
        write_text(IN_PLACE, folder / "in_place.txt")
    with _open_examiner(folder if params.copy_ else None, params) as examiner:
        return _ingest(source, examiner, params, unlabelled, decisions)


def _ingest(
    source: Source, examiner: "_Examiner", params: IngestParams, unlabelled: Source | None, decisions: Decisions
) -> Ingestion:
    examined = examiner.examine_all(source)
    good = [row for row in examined if isinstance(row, ManifestRow)]
    bad = tuple(image for image in examined if isinstance(image, BadImage))
    check_bad(bad, len(good), params.max_bad_fraction)
    others = _examine_unlabelled(unlabelled, examiner, good, params.max_bad_fraction)
    labelled, without_labels, given = give_labels(decisions, good, others.rows)
    merged, duplicates, conflicts = _merged(labelled)
    if params.on_conflict == "error":
        check_conflicts(conflicts)
    check_names({row.label for row in merged}, params.labels)
    without_images = folders_of_documents(source, {row.label for row in good} | {image.label for image in bad})
    left = {row.label for row in good} - {row.label for row in labelled}  # every image was given another label
    check_kept(sorted({*source.classes} - without_images - left), source, merged, bad)
    rows, rare = _without_rare(merged, params.min_images_per_class or 1)
    check_number(sorted({row.label for row in rows}), source.name)
    examiner.drop((*rare, *(files[0] for files in conflicts)))
    return Ingestion(
        source=source,
        rows=rows,
        duplicates=duplicates,
        conflicts=conflicts,
        quarantined=bad,
        num_non_images=examined.count(None) + source.num_special,
        pixels=examiner.pixel_checks(rows),
        classes_left_out=dict(sorted(Counter(row.label for row in rare).items())),
        without_images=tuple(sorted(without_images)),
        unlabelled=tuple(without_labels),
        quarantined_unlabelled=others.bad,
        given=given,
    )


@contextmanager
def _open_examiner(copies: Path | None, params: IngestParams) -> "Iterator[_Examiner]":
    """Open an examiner that copies good images to a folder; None: they stay in place."""
    with nullcontext() if copies is None else PackWriter(copies) as packs:
        yield _Examiner(packs=packs, white_level=params.white_level, max_pixels=in_pixels(params.max_megapixels))


def ingest_unlabelled(source: Source, folder: Path, params: IngestParams) -> tuple[ManifestRow, ...]:
    """Decode every image of a source without labels, and print how many are damaged; each image once, in order of id.

    Args:
        source: an open source.
        folder: does not exist yet; images that are not files of their own are copied there.
        params: the white level, and the share of damaged images that is allowed.
    """
    in_place = all(candidate.address for candidate in source.candidates)
    folder.mkdir(parents=True)
    with _open_examiner(None if in_place else folder, params) as examiner:
        found = _examine_unlabelled(source, examiner, (), params.max_bad_fraction)
    for image in found.bad:
        print(f"{source.name}: {image.file} is left out: {image.reason}", file=sys.stderr)
    return found.rows


@dataclass(frozen=True, kw_only=True)
class _Unlabelled:
    """Images without labels that were examined."""

    rows: tuple[ManifestRow, ...] = ()
    """Good ones, each once, without those that are labelled."""
    bad: tuple[BadImage, ...] = ()
    """The others."""


def _examine_unlabelled(
    source: Source | None, examiner: "_Examiner", labelled: Iterable[ManifestRow], max_bad_fraction: float
) -> _Unlabelled:
    """Examine images without labels as the others; of identical ones keep the first."""
    if source is None:
        return _Unlabelled()
    if examiner.packs is None:
        _check_addresses(source)
    examined = examiner.examine_all(source)
    bad = tuple(image for image in examined if isinstance(image, BadImage))
    good = [row for row in examined if isinstance(row, ManifestRow)]
    check_bad(bad, len(good), max_bad_fraction)
    known = {row.id for row in labelled}
    first = {row.id: row for row in reversed(good) if row.id not in known}
    return _Unlabelled(rows=tuple(first[id_] for id_ in sorted(first)), bad=bad)


def _without_rare(
    rows: Sequence[ManifestRow], min_images: int
) -> tuple[tuple[ManifestRow, ...], tuple[ManifestRow, ...]]:
    """Separate the images of classes that have at least so many from those of rare classes."""
    counts = Counter(row.label for row in rows)
    kept = tuple(row for row in rows if counts[row.label] >= min_images)
    return kept, tuple(row for row in rows if counts[row.label] < min_images)


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

    packs: PackWriter | None
    """Has the copies; None: images stay in place."""
    white_level: float | None
    """As in `decode`."""
    max_pixels: int
    """As in `decode`."""
    notable: dict[str, ImageInfo] = field(default_factory=dict)
    """By file: images with something to tell about their pixels."""

    def examine_all(self, source: Source) -> list[ManifestRow | BadImage | None]:
        """Examine every candidate, as `examine` does, in order."""
        # A service is waited for, a processor is not.
        waits = any(is_remote(candidate.address) for candidate in source.candidates)
        num_threads = _MAX_THREADS if waits else min(num_cpus(), _MAX_THREADS)
        results = in_threads(self.examine, source.candidates, num_threads)
        return [
            self._pack(result) if isinstance(result, _Good) else result
            for result in bar(results, desc="ingest", unit="files", total=len(source.candidates))
        ]

    def examine(self, candidate: Candidate) -> "_Good | BadImage | None":
        """Decode a file; None for what does not claim to be an image."""
        with one_image():
            return self._examine(candidate)

    def _examine(self, candidate: Candidate) -> "_Good | BadImage | None":
        file, label, data = candidate.file, candidate.label, b""
        try:
            data = candidate.read()
            info = inspect(data, self.white_level, self.max_pixels)
        except DataError as error:
            claimed = candidate.claims_to_be_image or is_image(data)
            return BadImage(file=file, label=label, reason=str(error)) if claimed else None
        if candidate.fault:
            return BadImage(file=file, label=label, reason=candidate.fault)
        if self.packs is None and readable_name(candidate.address) != candidate.address:
            return BadImage(file=file, label=label, reason="no table can hold its path (UTF-8, one line); rename it")
        if is_notable(info):
            self.notable[file] = info
        return self._good(candidate, data, info)

    def drop(self, rows: Iterable[ManifestRow]) -> None:
        """Remove the copies of images that are not kept after all."""
        if self.packs is not None:
            self.packs.remove(row.id for row in rows)

    def pixel_checks(self, rows: Sequence[ManifestRow]) -> PixelChecks:
        """Say what there is to tell about the pixels of the images kept."""
        notable = {row.file: self.notable[row.file] for row in rows if row.file in self.notable}
        return PixelChecks(notable=notable, num_images=len(rows), white_level=self.white_level)

    def _good(self, candidate: Candidate, data: bytes, info: ImageInfo) -> "_Good":
        id_ = hashlib.sha256(data).hexdigest()
        row = ManifestRow(
            id=id_,
            file=candidate.file,
            label=candidate.label,
            group=candidate.group or readable_name(info.patient),
            split=candidate.split,
            width=info.width,
            height=info.height,
            format=info.format,
            mode=info.mode,
            address=candidate.address if self.packs is None else "",
        )
        if self.packs is None:
            return _Good(row)
        return _Good(row, WaitingFile.of(id_, image_name(id_, info.format), data, self.packs.folder))

    def _pack(self, good: "_Good") -> ManifestRow:
        if self.packs is not None and good.copy is not None:
            self.packs.add(good.copy)
        return good.row


@dataclass(frozen=True, slots=True)
class _Good:
    """A good image."""

    row: ManifestRow
    """Its row."""
    copy: WaitingFile | None = None
    """Its copy; None when it stays in place."""


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
