"""What was measured and asked: all that the advice rests on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What `evaluate.gate` asks; None or False: nothing."""

    min_accuracy: float | None
    """Least lower end of the accuracy's interval, [0, 1]."""
    min_recall: float | None
    """Least recall of every class, [0, 1]."""
    max_leaked: int | None
    """Most test images with a near-duplicate in train or validation."""
    beat_baselines: bool
    """Whether the best baseline must be beaten beyond chance."""


@dataclass(frozen=True, kw_only=True)
class ClassFacts:
    """One class."""

    label: str
    """Its name."""
    recall: float
    """Share of its test images that are found, [0, 1]; 0 without any."""
    num_test: int
    """Its test images."""
    num_train: int
    """Its training images."""


@dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """The model against the best baseline on the same test images."""

    name: str
    """As in reports/baselines.csv."""
    accuracy: float
    """Of the baseline, [0, 1]."""
    num_gained: int
    """Images that only the model has right."""
    num_lost: int
    """Images that only the baseline has right."""
    p_value: float
    """McNemar's test, in which near-duplicates count once."""
    is_beaten: bool
    """Whether the model is better beyond chance."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Accuracy on validation with some of the training images."""

    per_class: int
    """Training images of each class; at the last point, of the largest class."""
    num_train: float
    """Training images, on average over the draws."""
    accuracy: float
    """Mean over the draws, [0, 1]."""
    highest: float
    """Of the best draw, [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An accuracy that is not known exactly."""

    low: float
    """Lower end, [0, 1]."""
    middle: float
    """The likeliest, [0, 1]."""
    high: float
    """Upper end, [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Accuracy to expect with more labelled images."""

    at_twice: Expected
    """With twice the labelled images."""
    at_four_times: Expected
    """With four times."""
    gain_at_twice: float
    """What twice the labelled images bring, as a share of the images."""
    for_target: str
    """In words, how many labels `evaluate.target_accuracy` takes in all; empty when nothing can be said."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything measured that decides."""

    source: str
    """`ingest.source`, as the user knows the images."""
    conditions: Conditions
    """What is asked."""
    passed: bool
    """Whether the gate holds."""
    num_test: int
    """Test images."""
    num_groups: int
    """Independent groups among them."""
    accuracy: float
    """On the test images, [0, 1]."""
    interval: tuple[float, float]
    """Of the accuracy."""
    confidence_level: float
    """Of the interval, (0, 1)."""
    classes: tuple[ClassFacts, ...]
    """Every class."""
    baseline: BaselineFacts
    """The best one."""
    num_leaked: int | None
    """Test images with a near-duplicate in train or validation; None: they were not looked for."""
    accuracy_unleaked: float | None
    """Accuracy on the other test images, [0, 1]; None when there are no others, or all are."""
    is_test_given: bool
    """Whether the source says which images are the test."""
    coverage: float
    """Share of the test images that the model answers, [0, 1]."""
    selective_accuracy: float | None
    """Share of these answers that are right; None without answers."""
    target_accuracy: float
    """What they should reach, (0, 1)."""
    reachable_accuracy: float | None
    """The highest that validation shows, when that is below the target; else None."""
    most_confused: tuple[str, str, int] | None
    """True class, predicted class and number of the most frequent error on test; None without errors."""
    curve: tuple[CurvePoint, ...]
    """Accuracy over training images, from few to all."""
    num_images: int
    """Labelled images in all splits."""
    num_unused: int
    """Labelled images that `split.train_per_class` leaves out."""
    num_doubtful: int
    """Labels that look wrong, in all splits."""
    is_finetuned: bool | None
    """Whether fine-tuned weights are the model; False: they were tried and not kept; None: nothing was fine-tuned."""
    forecast: Forecast | None = None
    """None when none was made."""
    num_unlabelled: int = 0
    """Images without a label that have features."""

    @property
    def weakest(self) -> tuple[ClassFacts, ...]:
        """The classes with test images, the lowest recall first; of equals, the one with fewer training images."""
        tested = [one for one in self.classes if one.num_test]
        return tuple(sorted(tested, key=lambda one: (one.recall, one.num_train)))

    @property
    def untested(self) -> tuple[ClassFacts, ...]:
        """The classes without test images."""
        return tuple(one for one in self.classes if not one.num_test)
