"""The earlier results that the page compares with: the last one on the same test images, and the champion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.graft.metrics.answer_changes import Predictions, compare_answers
from stages.graft.report.changes import Change, differences, format_answers
from stages.graft.report.gallery import FindThumbnail
from stages.graft.report.past_results import find_last, read_present
from stages.graft.tracking.champion import Champion

MAX_IMAGES = 4
"""Images that became right, and images that became wrong, shown of each comparison."""


@dataclass(frozen=True, kw_only=True)
class ChangedImage:
    """A test image whose answer became right or wrong."""

    address: str | None
    """The thumbnail as a data address; None if the image is not available."""
    file: str
    """Path inside the source as the user knows it."""
    label: str
    """The true class."""
    before: str
    """The earlier answer."""
    now: str
    """The present one."""

    @property
    def is_fixed(self) -> bool:
        """Whether it is right now."""
        return self.now == self.label


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """An earlier result, and the present one against it."""

    title: str
    """Names the earlier one."""
    summary: str
    """The paired test in a sentence."""
    params: tuple[Change, ...]
    """Parameters that differ; empty for the champion."""
    images: Sequence[ChangedImage]
    """Images that are right only now, then those that were right only then; MAX_IMAGES of each at most."""


def read_earlier_results(root: Path, champion: Champion | None, thumbnail: FindThumbnail) -> list[EarlierResult]:
    """Compare the present result with the last one on the same test images and with the champion, where they exist."""
    now, found = read_present(root), []
    if last := find_last(root, now):
        revision, past, answers = last
        found.append((revision.title, differences(past.params, now.params), past.predictions, answers))
    if champion and (answers := compare_answers(champion.predictions, now.predictions)).same_data:
        if found and (found[0][3].gained, found[0][3].lost) == (answers.gained, answers.lost):
            found = [(f"{found[0][0]}, and {champion.title}", *found[0][1:])]  # the same against both
        else:
            found.append((champion.title, (), champion.predictions, answers))
    return [
        EarlierResult(
            title=title,
            summary=format_answers(answers),
            params=params,
            images=[
                *_images(answers.gained, before, now.predictions, thumbnail),
                *_images(answers.lost, before, now.predictions, thumbnail),
            ],
        )
        for title, params, before, answers in found
    ]


def _images(
    ids: Sequence[str], before: Predictions, now: Predictions, thumbnail: FindThumbnail
) -> Iterator[ChangedImage]:
    for id_ in ids[:MAX_IMAGES]:
        yield ChangedImage(
            address=thumbnail(id_),
            file=now[id_].file,
            label=now[id_].label,
            before=before[id_].predicted,
            now=now[id_].predicted,
        )
