"""The baselines that every model is held against, and what each does."""

BASELINE_NAMES = {
    "majority": "always the most common class",
    "pixels": "grey pixels without a network",
    "neighbours": "the nearest training images by the same features",
}
"""For sentences, by the name of the baseline in tables."""
