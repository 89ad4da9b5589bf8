"""Text inside Markdown."""

import re


def escape_markdown(text: str) -> str:
    """Replace characters that may mean something in Markdown by character references."""
    return re.sub(r"[^\w .,%+\-/=()]", lambda match: f"&#{ord(match[0])};", text)
