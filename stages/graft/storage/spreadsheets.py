"""Text that people may open with a spreadsheet, which runs what begins like a formula."""

import re

_FORMULA = re.compile(r"(?=[=+\-@\t\r'])")
"""How a text begins that a spreadsheet takes for a formula, or that looks like one that was protected."""


def for_spreadsheet(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would take for a formula, and run."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_spreadsheet(text: str) -> str:
    """Give back the text that `for_spreadsheet` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
