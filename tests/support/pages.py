"""The pages for readers: README.md, docs/ and CONTRIBUTING.md, with their sections and the commands in them."""

import re

from tests.conftest import REPOSITORY

DOCS = (
    "docs/sources.md",
    "docs/duplicates.md",
    "docs/labelling.md",
    "docs/networks.md",
    "docs/fine-tuning.md",
    "docs/results.md",
    "docs/using-the-model.md",
    "docs/teams.md",
    "docs/clusters.md",
    "docs/speed.md",
    "docs/how-it-works.md",
)
"""In the order of reading."""

PAGES = ("README.md", *DOCS, "CONTRIBUTING.md")


def read_page(page: str) -> str:
    """Read a page by its path in the repository."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under a heading of the second level."""
    (text,) = [part for part in re.split(r"^## ", read_page(page), flags=re.M) if part.startswith(f"{heading}\n")]
    return text


def headings(page: str) -> list[str]:
    """Every heading of a page, in order."""
    text = re.sub(r"^```.*?^```", "", read_page(page), flags=re.M | re.S)
    return re.findall(r"^#+ (.+)$", text, re.M)


def blocks(text: str) -> list[list[str]]:
    """The commands of each bash block, without comments; a line that ends in a backslash goes on in the next."""
    found = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    return [
        [line.split("  #")[0].strip() for line in re.sub(r"\\\n *", "", block).splitlines() if line.strip()]
        for block in found
    ]


def commands(text: str) -> list[str]:
    """The commands of all blocks."""
    return [line for block in blocks(text) for line in block]
