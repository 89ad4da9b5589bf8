"""Trees of files in one line, for tests of layouts."""

from itertools import product

from stages.graft.data.candidates import Contents, FoundFile


def paths(tree: str) -> list[str]:
    """The paths that a line stands for: "{a,b}/{1,2}.png" is a/1.png, a/2.png, b/1.png and b/2.png."""
    found = []
    for word in tree.split():
        pieces = [piece.split(",") for piece in word.replace("}", "{").split("{")]
        found += ["".join(choice) for choice in product(*pieces)]
    return found


def contents(tree: str) -> Contents:
    """What a source with these paths holds; one that ends in a slash is an empty folder."""
    names = paths(tree)
    files = [FoundFile(file=name, read=lambda: b"") for name in names if not name.endswith("/")]
    return Contents(files=files, folders=[name.rstrip("/") for name in names if name.endswith("/")])
