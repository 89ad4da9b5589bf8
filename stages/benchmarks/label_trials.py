"""Trials of labelling, with a labelled set in place of a person. Letters: n images, c classes."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from stages.graft.evaluation.forecast import Curves, Interval, expect_accuracy, expect_gain, expect_labels, fit_curves
from stages.graft.evaluation.label_errors import judge_labels, suspect_labels
from stages.graft.evaluation.learning_curve import measure_curve
from stages.graft.heads.features import FeatureSet, select_rows
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.heads.lda import fit_discriminants
from stages.graft.labelling.clusters import typicality
from stages.graft.labelling.similarity import place_on_sphere
from stages.graft.labelling.suggestions import Pool, choose_images, guess_classes
from stages.graft.metrics.classification import Labels, accuracy
from stages.graft.metrics.label_doubt import MAX_PROBABILITY
from stages.graft.metrics.sampling import draw_rows

MAX_HELD_OUT = 341
"""Images held out of a pool, at most; a quarter of fewer than 1,364."""

MOST_CERTAIN = 0.95
"""Targets above it are not asked for."""

NUM_DRAWS = 6
"""Draws of the further labels whose accuracies are averaged."""


@dataclass(frozen=True, kw_only=True)
class LabelledPool:
    """A pool of images whose labels are asked for one by one, and images that score."""

    pool: FeatureSet
    """To label."""
    held_out: FeatureSet
    """To score."""


@dataclass(frozen=True, kw_only=True)
class WrongLabels:
    """What checking suspects brings."""

    found: float
    """Share of the wrong labels among as many suspects."""
    noticed: float
    """Share of the wrong labels that look wrong, as the report counts them."""
    mistaken: float
    """Share of the right labels that do."""
    mistaken_by_learning: float
    """Share of the right labels that confident learning takes for wrong."""
    wrong: float
    """Accuracy with the wrong labels."""
    checked: float
    """Accuracy after the suspects were checked."""
    clean: float
    """Accuracy without a wrong label."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A forecast, and what came."""

    expected: Interval
    """Accuracy forecast for twice the labels."""
    gain: Interval
    """Gain forecast."""
    known: float
    """Accuracy with the labels, as the forecast estimates it from them."""
    now: float
    """Accuracy with the labels, on held-out images."""
    later: float
    """Accuracy with twice the labels, on the same images."""
    tested: float
    """The same, as a test of as many new images as there were labels would show it."""
    is_near: bool | None
    """Whether the labels forecast for that accuracy are within a factor of 2; None: not asked or not told."""
    gain_is_near: bool | None
    """The same for the accuracy known now and the gain that came, as if the level was known."""

    @property
    def is_inside(self) -> bool:
        """Whether the interval covers the accuracy."""
        return self.expected.low <= self.later <= self.expected.high

    @property
    def gain_is_inside(self) -> bool:
        """Whether the interval covers the gain."""
        return self.gain.low <= self.later - self.now <= self.gain.high


def draw_pool(images: FeatureSet, seed: int) -> LabelledPool:
    """Hold out a quarter of the images at random."""
    order = np.random.default_rng((seed, 1)).permutation(len(images.y))
    num_out = min(MAX_HELD_OUT, len(order) // 4)
    pool, out = np.sort(order[num_out:]), np.sort(order[:num_out])
    return LabelledPool(pool=select_rows(images, pool), held_out=select_rows(images, out))


def score(labelled: FeatureSet, held_out: FeatureSet, unlabelled: Float32 | None = None) -> float:
    """Fit discriminants to labels, of which classes may be missing, and score held-out images."""
    present = np.unique(labelled.y)
    train = FeatureSet(
        ids=(),
        x=labelled.x,
        y=np.searchsorted(present, labelled.y),
        classes=tuple(labelled.classes[k] for k in present),
        unlabelled=unlabelled,
    )
    head, _ = fit_discriminants(train, np.ones(len(present)))
    return accuracy(present[head.logits(held_out.x).argmax(axis=1)], held_out.y)


def score_known(pool: LabelledPool, shots: int, params: TrainHeadParams, seed: int) -> tuple[float, float]:
    """Score a head fitted to some labels of each class, without and with the other images of the pool known."""
    train = select_rows(pool.pool, draw_rows(pool.pool.y, shots, np.random.default_rng((seed, 5))))
    nothing = select_rows(train, np.arange(0))  # the training images alone choose
    accuracies = []
    for unlabelled in (None, pool.pool.x):
        fitted = fit_head(params, replace(train, unlabelled=unlabelled), nothing, lambda *_: None)
        accuracies.append(accuracy(fitted.head.logits(pool.held_out.x).argmax(axis=1), pool.held_out.y))
    return accuracies[0], accuracies[1]


def cold_classes(pool: LabelledPool, strategy: str, number: int, seed: int) -> int:
    """Count the classes among the first images chosen."""
    return len(np.unique(pool.pool.y[choose(pool.pool, strategy, [], number, seed)]))


def reference_accuracy(pool: LabelledPool, seed: int) -> float:
    """Score 10 labels of each class drawn class by class, which takes the labels of all images; mean of 4 draws."""
    rng = np.random.default_rng((seed, 2))
    draws = [select_rows(pool.pool, draw_rows(pool.pool.y, 10, rng)) for _ in range(4)]
    return float(np.mean([score(drawn, pool.held_out, pool.pool.x) for drawn in draws]))


def simulate_rounds(pool: LabelledPool, strategy: str, step: int, num_rounds: int, seed: int) -> list[float]:
    """Choose, label and score round by round; give the accuracy after each."""
    rows, accuracies = list[int](), list[float]()
    for _ in range(num_rounds):
        rows += choose(pool.pool, strategy, rows, step, seed)
        labelled = select_rows(pool.pool, np.array(rows))
        accuracies.append(score(labelled, pool.held_out, pool.pool.x) if len(np.unique(labelled.y)) > 1 else 0.0)
    return accuracies


def labels_needed(accuracies: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], target: float) -> float:
    """Give the number of labels at which a curve first reaches the target, between its points along a line."""
    best = np.maximum.accumulate(accuracies)
    if best[-1] < target:
        return float("inf")
    place = int(np.argmax(best >= target))
    if not place:
        return float(sizes[0])
    share = (target - best[place - 1]) / (best[place] - best[place - 1])
    return float(sizes[place - 1] + share * (sizes[place] - sizes[place - 1]))


def choose(images: FeatureSet, strategy: str, labelled: list[int], number: int, seed: int) -> list[int]:
    """Choose the next rows to label."""
    is_free = np.ones(len(images.y), dtype=np.bool_)
    is_free[labelled] = False
    if strategy == "random":
        order = np.random.default_rng((seed, len(labelled))).permutation(np.flatnonzero(is_free))
        return [int(row) for row in order[:number]]
    points = place_on_sphere(images.x)
    if strategy == "typical of clusters":
        return _typical_of_clusters(points, labelled, number, seed)
    labels = np.full(len(images.y), "", dtype=object)
    labels[labelled] = [images.classes[k] for k in images.y[labelled]]
    pool = Pool(x=images.x, labels=labels.tolist(), is_candidate=is_free)
    guesses = guess_classes(pool) if strategy != "coverage alone" else None
    if strategy == "smallest margins" and guesses:
        return [int(row) for row in np.argsort(np.where(is_free, guesses.margins, np.inf))[:number]]
    return choose_images(pool, points, guesses, number)


def _typical_of_clusters(points: Float32, labelled: list[int], number: int, seed: int) -> list[int]:
    """Choose the most typical image of each of the largest clusters without a label.

    Source:
        Hacohen, Dekel and Weinshall, Active learning on a budget, ICML 2022, section 3.2 (TypiClust).
    """
    codes = KMeans(number + len(labelled), n_init=1, random_state=seed).fit_predict(points)
    order = np.argsort(-np.bincount(codes, minlength=number + len(labelled)), kind="stable")
    covered = set(codes[labelled].tolist())
    free = [k for k in order.tolist() if k not in covered][:number]
    members = [np.flatnonzero(codes == k) for k in free]
    return [int(rows[np.argmax(typicality(points, rows))]) for rows in members if len(rows)]


def wrong_label_trial(pool: LabelledPool, shots: int, seed: int) -> WrongLabels:
    """Give one label in ten another class, judge the labels, and check as many suspects as labels are wrong."""
    rng = np.random.default_rng((seed, 3))
    images = select_rows(pool.pool, draw_rows(pool.pool.y, shots, rng))
    num_classes, number = len(images.classes), len(images.y) // 10
    is_wrong = np.zeros(len(images.y), dtype=np.bool_)
    is_wrong[rng.permutation(len(images.y))[:number]] = True
    given = np.where(is_wrong, (images.y + rng.integers(1, num_classes, len(images.y))) % num_classes, images.y)
    _, p = judge_labels(_relabelled(images, given), [""] * len(given), 5)
    own = p[np.arange(len(given)), given]
    by_learning, suspects = suspect_labels(given, p), np.argsort(own, kind="stable")[:number]
    looks_wrong = by_learning & (own < MAX_PROBABILITY)
    checked = given.copy()
    checked[suspects] = images.y[suspects]
    accuracies = [score(_relabelled(images, labels), pool.held_out) for labels in (given, checked, images.y)]
    return WrongLabels(
        found=float(is_wrong[suspects].mean()),
        noticed=float(looks_wrong[is_wrong].mean()),
        mistaken=float(looks_wrong[~is_wrong].mean()),
        mistaken_by_learning=float(by_learning[~is_wrong].mean()),
        wrong=accuracies[0],
        checked=accuracies[1],
        clean=accuracies[2],
    )


def _relabelled(images: FeatureSet, y: Labels) -> FeatureSet:
    return FeatureSet(ids=images.ids, x=images.x, y=y, classes=images.classes)


def forecast_trial(images: FeatureSet, number: int, seed: int) -> Forecast:
    """Forecast twice the labels from a number of random ones; then draw as many more, and score the rest."""
    rng = np.random.default_rng((seed, 4, number))
    rows = draw_labels(images.y, number, rng)
    points = measure_curve(select_rows(images, rows), seed)
    curves = fit_curves(points.sizes, points.correct, seed)
    now, later = np.mean([_score_more(images, rows, rng) for _ in range(NUM_DRAWS)], axis=0).tolist()
    known = expect_accuracy(curves, number).middle
    return Forecast(
        expected=expect_accuracy(curves, 2 * number),
        gain=expect_gain(curves, number, 2 * number),
        known=known,
        now=now,
        later=later,
        tested=float((rng.random(number) < later).mean()),
        is_near=_is_near(curves, number, later, later),
        gain_is_near=_is_near(curves, number, known + later - now, later),
    )


def draw_labels(y: Labels, number: int, rng: np.random.Generator) -> Labels:
    """Draw rows at random, again and again until every class has two."""
    while True:
        rows = np.sort(rng.permutation(len(y))[:number])
        if np.bincount(y[rows], minlength=int(y.max()) + 1).min() >= 2:
            return rows


def _is_near(curves: Curves, number: int, target: float, later: float) -> bool | None:
    found = expect_labels(curves, number, target) if later <= MOST_CERTAIN else None
    return None if found is None else bool(0.5 <= found.middle / (2 * number) <= 2)


def _score_more(images: FeatureSet, rows: Labels, rng: np.random.Generator) -> tuple[float, float]:
    """Score the labels, and twice as many, on the images that neither has."""
    rest = np.setdiff1d(np.arange(len(images.y)), rows)
    more = rng.permutation(rest)[: len(rows)]
    out = select_rows(images, np.setdiff1d(rest, more))
    now, later = (score(select_rows(images, some), out) for some in (rows, np.concatenate([rows, more])))
    return now, later
