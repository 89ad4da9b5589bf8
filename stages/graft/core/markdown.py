"""Text inside Markdown."""

import re


def escape_markdown(text: str) -> str:
    """Replace characters that may mean something in Markdown by character references, and break addresses.

    A character that shows nothing keeps an address that someone wrote into a name from becoming a link.
    """
    text = re.sub(r"(?i)(?=://)|(?<=\bwww)(?=\.)", "\u200b", text)
    return re.sub(r"[^\w .,%+\-/=()]", lambda match: f"&#{ord(match[0])};", text)
