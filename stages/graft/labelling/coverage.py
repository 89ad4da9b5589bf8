"""Which images to choose: each next one makes the images that are left most similar to one that is chosen.

Letters: n images, r references.
"""

import numpy as np
import numpy.typing as npt

from stages.graft.heads.head import Float32
from stages.graft.labelling.similarity import Rows, Similarities

Float = npt.NDArray[np.float64]


def choose_covering(
    similarities: Similarities, candidates: Rows, labelled: Rows, number: int, weights: Float | None = None
) -> list[int]:
    """Choose images one by one, each time the one that adds most to the coverage.

    The coverage of an image is its similarity to the most similar one that is labelled or chosen. So the first images
    are typical of many, none is like another, and any first part of the choice is as good as it can be.

    Args:
        similarities: of n images to r references.
        candidates: numbers of the images to choose from.
        labelled: numbers of the images that are labelled already.
        number: how many to choose, at most.
        weights: how much each image's coverage counts, shape (n,); None: all count the same.
    Source:
        Nemhauser, Wolsey and Fisher, An analysis of approximations for maximizing submodular set functions,
        Mathematical Programming 1978, section 4 (the greedy choice of facility locations).
    """
    matrix, weight = similarities.matrix, np.ones(len(similarities.references), np.float32)
    if weights is not None:
        weight = weights[similarities.references].astype(np.float32)
    covered = matrix[labelled].max(axis=0) if len(labelled) else np.zeros(len(weight), np.float32)
    left, chosen = candidates.copy(), list[int]()
    bounds = np.full(len(left), np.inf, np.float32)
    for _ in range(min(number, len(left))):
        best = _most_covering(matrix, left, bounds, covered, weight)
        chosen.append(int(left[best]))
        covered = np.maximum(covered, matrix[left[best]])
        bounds[best] = -np.inf
    return chosen


def _most_covering(matrix: Float32, left: Rows, bounds: Float32, covered: Float32, weight: Float32) -> int:
    """Give the place of the best candidate; `bounds` holds earlier gains, which only get smaller, and is updated."""
    best, most = -1, -np.inf
    order = np.argsort(-bounds, kind="stable")
    for some in np.array_split(order, -(-len(order) // 256)):
        if bounds[some[0]] <= most:
            break
        alive = some[bounds[some] > most]
        bounds[alive] = np.maximum(matrix[left[alive]] - covered, 0) @ weight
        place = alive[int(np.argmax(bounds[alive]))]
        if bounds[place] > most:
            best, most = int(place), float(bounds[place])
    return best
