"""Can heat maps be trusted? Pixels that matter to the answer change it when they are shown or blurred.

Letters: n images, p pixels of a side, k classes, s side of a heat map.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc

from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads
from stages.graft.heads.head import Float32
from stages.graft.images.decode import Batch
from stages.graft.metrics.classification import Labels
from stages.graft.model.heat_map import Trust

SHARES = (0.15, 0.5)
"""Shares of the pixels, the hottest first, that are shown or blurred."""

BLUR = 0.08
"""Standard deviation of the blur, as a share of the side. A grey fill cannot tell: it is a defect itself."""

LEVEL = 0.05
"""Heat maps are trusted when as many wins against another image's map have a lower probability by chance."""

Probabilities = Callable[[Batch], npt.NDArray[np.float64]]
"""From squares (n, p, p, 3), any number, to the probabilities of the classes, shape (n, k)."""


def measure_trust(squares: Batch, heats: Float32, answers: Labels, score: Probabilities) -> Trust:
    """Compare each image's heat map with that of another image, by insertion minus deletion.

    Args:
        squares: what the network sees, shape (n, p, p, 3), n at least 2.
        heats: their heat maps, shape (n, s, s).
        answers: their classes, shape (n,).
        score: the model.
    Source:
        Petsiuk, Das and Saenko, RISE, BMVC 2018, section 4.2 (insertion and deletion).
    """

    def compare(number: int) -> list[float]:
        pair = heats[number], heats[number - 1]
        return [insertion_minus_deletion(squares[number], heat, int(answers[number]), score) for heat in pair]

    own, other = np.array(list(bar(in_threads(compare, range(len(squares))), desc="trust", unit="images"))).T
    num_better = int((own > other).sum())
    chance = float(bdtrc(num_better - 1, len(squares), 0.5))  # of as many wins or more, where each is one of two
    return Trust(
        num_images=len(squares),
        num_better=num_better,
        own_score=round(float(own.mean()), 6),
        other_score=round(float(other.mean()), 6),
        is_trusted=chance < LEVEL,
    )


def insertion_minus_deletion(square: Batch, heat: Float32, answer: int, score: Probabilities) -> float:
    """Give the answer's mean probability with the hottest pixels sharp and the rest blurred, minus the reverse."""
    probabilities = score(np.concatenate(altered(square, heat)))[:, answer]
    return float(probabilities[: len(SHARES)].mean() - probabilities[len(SHARES) :].mean())


def altered(square: Batch, heat: Float32) -> tuple[Batch, Batch]:
    """Show only the hottest pixels of an image (p, p, 3), and only the others, for each of SHARES; the rest is blurred.

    Returns:
        The two series, each of shape (len(SHARES), p, p, 3).
    """
    size_px = len(square)
    blurred = cv2.GaussianBlur(square, (0, 0), BLUR * size_px, borderType=cv2.BORDER_REFLECT)
    large = cv2.resize(heat, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    hottest = [(large >= np.quantile(large, 1 - share))[:, :, None] for share in SHARES]
    inserted = np.stack([np.where(hot, square, blurred) for hot in hottest])
    deleted = np.stack([np.where(hot, blurred, square) for hot in hottest])
    return inserted.astype(np.uint8), deleted.astype(np.uint8)
