"""Names that people give to train, validation and test: one vocabulary for folders, archives, S3 and lists."""

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

TRAIN, VAL, TEST = "train", "val", "test"

WORDS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), VAL),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), TEST),
}
"""From a word, in lower case, to the split that it means."""

_FILLERS = frozenset(
    [
        "set",
        "sets",
        "data",
        "dataset",
        "split",
        "subset",
        "partition",
        "part",
        "folder",
        "image",
        "images",
        "img",
        "imgs",
        "photos",
        "pictures",
        "samples",
        "files",
    ]
)
"""Words that may stand beside the word, as in `train_set` and `dataset_train`; numbers may as well."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_HOLD_OUT = re.compile(r"\b(hold|held)[-_ ]+out\b", re.IGNORECASE)


def split_named(name: str) -> str | None:
    """Give train, val or test for a name such as `Train`, `valid`, `test_set` or `dataset_train2`; None for others."""
    word = _word(_tokens(name))
    return WORDS[word] if word else None


def split_words(names: Iterable[str]) -> dict[str, str]:
    """Give the word of WORDS in each name of sibling folders that has one; what all names share does not count.

    `neu_train` and `neu_test` are splits beside each other; `bullet_train` and `steam_train` are not.
    """
    tokens = {name: _tokens(name) for name in names}
    start = _num_shared(list(tokens.values()))
    end = _num_shared([some[::-1] for some in tokens.values()])
    found = {
        name: _word(some) or _word(some[start : len(some) - end]) or _word(some[start:])
        for name, some in tokens.items()
    }
    return {name: word for name, word in found.items() if word}


def _num_shared(names: Sequence[Sequence[str]]) -> int:
    """Count the tokens with which all of several names begin."""
    if len(names) < 2:
        return 0
    return len(list(takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))))


def _tokens(name: str) -> list[str]:
    joined = _HOLD_OUT.sub(r"\1out", name)
    return _TOKEN.findall(_CAMEL.sub(" ", joined).casefold().replace("_", " "))


def _word(tokens: Sequence[str]) -> str | None:
    """Give the only word that is neither a number nor a filler, when it names a split."""
    words = [_without_filler(token) for token in tokens if not token.isdigit() and token not in _FILLERS]
    return words[0] if len(words) == 1 and words[0] in WORDS else None


def _without_filler(token: str) -> str:
    """Take `trainset` and `testdata` apart."""
    for word in WORDS:
        if token.startswith(word) and token[len(word) :] in _FILLERS:
            return word
    return token
