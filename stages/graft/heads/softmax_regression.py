"""Softmax regression: the layer with the lowest log loss and penalty, by L-BFGS in the metric of the features.

Letters: n images, d features, c classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from stages.graft.heads.head import Float32
from stages.graft.heads.row_sums import Sums, sum_rows
from stages.graft.metrics.classification import Labels

FINE, COARSE = 3e-7, 1e-5
"""Tolerances, for a head that is kept and for fits that only compare: a fit ends when the next step would lower the
mean log loss and penalty by less, in nats per image."""

MEMORY = 10
"""Steps from which the curvature is learnt."""

LEAST_DECREASE, MIN_STEP = 1e-4, 1e-6
"""Share of the decrease that a step promises which it must bring; shorter steps are below what float32 resolves."""

FLOOR = 1e-5
"""Least penalty in the metric, as a share of the mean square of the features: the rounding of float32."""

ROWS_AT_ONCE = 1024
"""Rows whose features stay in the processor's cache until they are used for the second time."""

Theta = npt.NDArray[np.float64]
"""Weights, and the bias as the last column, shape (c, d + 1)."""

Steps = Sequence[tuple[Theta, Theta]]
"""The last steps, each with the change of the gradient."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What the images say of weights."""

    theta: Theta
    """The weights."""
    value: float
    """Sum of the log losses, in nats, and penalty."""
    gradient: Theta
    """Of the value."""
    doubt: float
    """Mean curvature of the log loss in a logit, 1 / c when all classes are equally likely, 0 without doubt."""


@dataclass(frozen=True, kw_only=True)
class SoftmaxRegression:
    """The images of a fit."""

    x: Float32
    """Features, about 0, shape (n, d)."""
    y: Labels
    """Class indices, shape (n,)."""
    of_image: npt.NDArray[np.float64]
    """Weight of each image's log loss, shape (n,)."""
    num_classes: int
    """c."""
    tolerance: float = FINE
    """FINE or COARSE."""

    @cached_property
    def products(self) -> Float32:
        """Weighted sums of the products of every two features, shape (d, d)."""
        roots = np.sqrt(self.of_image).astype(np.float32)

        def of_rows(rows: slice) -> Sums:
            part = self.x[rows] * roots[rows, None]
            return (part.T @ part,)

        return np.asarray(sum_rows(of_rows, len(self.y))[0])

    def measure(self, theta: Theta, l2: float) -> Point:
        """Compute the value and its gradient."""
        weight = theta[:, :-1]
        value, gradient, doubt = sum_rows(partial(self._of_rows, theta=theta), len(self.y))
        gradient[:, :-1] += l2 * weight
        doubt /= max(self.num_classes - 1, 1) * self.of_image.sum()
        return Point(theta=theta, value=value + l2 / 2 * np.square(weight).sum(), gradient=gradient, doubt=doubt)

    def _of_rows(self, rows: slice, theta: Theta) -> Sums:
        """Give the value, the gradient and the doubt of some rows, without the penalty, and not yet averaged."""
        narrow, bias = theta[:, :-1].T.astype(np.float32), theta[:, -1]
        value, gradient, doubt = 0.0, np.zeros_like(theta), 0.0
        for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
            some = slice(start, min(start + ROWS_AT_ONCE, rows.stop))
            x, of_image, truth = self.x[some], self.of_image[some], (np.arange(some.stop - start), self.y[some])
            logits = (x @ narrow).astype(np.float64) + bias
            logits -= logits.max(axis=1, keepdims=True)
            p = np.exp(logits)
            sums = p.sum(axis=1)
            value += float(of_image @ (np.log(sums) - logits[truth]))
            p /= sums[:, None]
            doubt += float(of_image @ (1 - np.square(p).sum(axis=1)))
            p[truth] -= 1
            p *= of_image[:, None]
            gradient[:, :-1] += p.T.astype(np.float32) @ x
            gradient[:, -1] += p.sum(axis=0)
        return value, gradient, doubt

    def metric(self, doubt: float, l2: float) -> Callable[[Theta], Theta]:
        """Give the product with an inverse of about the value's curvature: that of a logit, times the features'."""
        num_features, total = len(self.products), float(self.of_image.sum())
        floor = FLOOR * doubt * np.trace(self.products) / max(num_features, 1)
        curvature = np.float32(doubt) * self.products
        curvature[np.diag_indices(num_features)] += np.float32(max(l2, floor))
        factor = cho_factor(curvature, lower=True, overwrite_a=True, check_finite=False)

        def solve(gradient: Theta) -> Theta:
            step = cho_solve(factor, gradient[:, :-1].T.astype(np.float32), check_finite=False).T
            return np.column_stack([step, gradient[:, -1] / max(doubt * total, l2)])

        return solve

    def fit(self, start: Theta, l2: float, max_steps: int) -> tuple[Theta, bool]:
        """Find the weights with the lowest value.

        Args:
            start: first weights; those of a stronger penalty save steps.
            l2: factor of half the sum of squared weights, above 0; the bias is free.
            max_steps: steps after which the fit ends.
        Returns:
            The weights, and whether the fit converged.
        Source:
            Nocedal and Wright, Numerical Optimization, 2006, algorithms 7.4 and 3.1. The metric is that of Böhning,
            Multinomial logistic regression algorithm, AISM 1992, with the curvature there is instead of a bound.
        """
        point = self.measure(start, l2)
        solve, steps = self.metric(point.doubt, l2), list[tuple[Theta, Theta]]()
        for _ in range(max_steps):
            direction = _direction(point.gradient, steps, solve)
            promised = float((point.gradient * direction).sum())
            if promised / 2 < self.tolerance * self.of_image.sum():
                return point.theta, True
            new = self._search(point, direction, promised, l2)
            if new is None:
                return point.theta, True
            steps = [*steps, (new.theta - point.theta, new.gradient - point.gradient)][-MEMORY:]
            point = new
        return point.theta, False

    def _search(self, point: Point, direction: Theta, promised: float, l2: float) -> Point | None:
        """Go against a direction, half as far each time until the value falls enough; None when it does not fall."""
        step = 1.0
        while step > MIN_STEP:
            new = self.measure(point.theta - step * direction, l2)
            if new.value <= point.value - LEAST_DECREASE * step * promised:
                return new
            step /= 2
        return None


def _direction(gradient: Theta, steps: Steps, solve: Callable[[Theta], Theta]) -> Theta:
    """Multiply the gradient by the inverse of the curvature that the metric and the last steps show."""
    direction, shares = gradient.copy(), list[float]()
    for step, change in reversed(steps):
        shares.append(float((step * direction).sum() / (step * change).sum()))
        direction -= shares[-1] * change
    direction = solve(direction)
    for (step, change), share in zip(steps, reversed(shares), strict=True):
        direction += (share - (change * direction).sum() / (step * change).sum()) * step
    return direction
