"""Whether a new model becomes the champion: both models on the same test images, compared image by image."""

from dataclasses import dataclass

from stages.graft.metrics.answer_changes import AnswerChanges, Predictions, compare_answers

SIGNIFICANCE = 0.05
"""A challenger that is worse with a smaller p-value (McNemar, exact, two-sided) is refused."""

TOLERANCE = 0.01
"""How far a challenger's accuracy may be below the champion's, [0, 1]; one image is always allowed. The test alone
lets much pass with few images: of 30, five more errors (p = 0.06). No tolerance at all would refuse a retrained model
for a single image. The gate limits the sum of many small steps down."""

COLUMNS = ("id", "label", "predicted")
"""Columns of a table of predictions that are compared."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The decision on a challenger."""

    is_promoted: bool
    """Whether it becomes the champion."""
    reason: str
    """A sentence without its full stop."""


def decide_promotion(champion: Predictions | None, challenger: Predictions) -> Promotion:
    """Promote a challenger unless it is worse on the test images that both were tested on.

    It is worse if p is below SIGNIFICANCE, or if its accuracy is lower by more than TOLERANCE and by more than one
    image. Both models are judged by the challenger's labels: they are today's, if one was corrected. The champion is
    None when its predictions are not on record.
    """
    if champion is None:
        reason = "the champion's predictions are not on record, so they are not compared"
        return Promotion(is_promoted=False, reason=reason)
    answers = compare_answers(champion, challenger)
    if not answers.same_data:
        sizes = f"{answers.num_now} now, {answers.num_before} then, {answers.num_shared} of them the same"
        return Promotion(is_promoted=False, reason=f"the champion was tested on other images ({sizes}): no comparison")
    return _weigh(answers)


def _weigh(answers: AnswerChanges) -> Promotion:
    """Decide by the images that only one of the two models has right."""
    num_gained, num_lost, num_images = len(answers.gained), len(answers.lost), answers.num_shared
    num_worse = num_lost - num_gained
    is_refused = answers.p_value < SIGNIFICANCE or num_worse > max(1, TOLERANCE * num_images)
    is_promoted = num_worse <= 0 or not is_refused
    images = f"the same {num_images} test images" if answers.same_test else f"the {num_images} test images of both"
    shares = f"{answers.accuracy:.1%} against the champion's {answers.accuracy_before:.1%}"
    counts = f"{num_gained} images gained, {num_lost} lost, McNemar p = {answers.p_value:.2g}"
    verb = "no worse than the champion" if is_promoted else "worse than the champion"
    return Promotion(is_promoted=is_promoted, reason=f"{verb} on {images}: {shares} ({counts})")
