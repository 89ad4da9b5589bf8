"""Questions to git, asked so that a commit or a DVC command that runs at the same time is not disturbed."""

import subprocess
from pathlib import Path

LAST_COMMIT = "HEAD"
"""Git's name for it."""

SECONDS_TO_ANSWER = 60.0
"""A git that takes longer waits for something that does not come, such as a network disk."""


def ask_git(root: Path, *arguments: str, given: str = "") -> bytes | None:
    """Run a git command in a folder, with `given` as its standard input, and give what it prints.

    Returns:
        The standard output; None when git is not installed, fails or does not answer in time.
    """
    command = ["git", "--no-optional-locks", *arguments]
    try:
        run = subprocess.run(
            command, cwd=root, input=given.encode(), capture_output=True, check=True, timeout=SECONDS_TO_ANSWER
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout


def committed_file(root: Path, path: str, revision: str = LAST_COMMIT) -> bytes | None:
    """Give the bytes of a file, relative to `root`, at a commit, branch or tag; None when git does not have it."""
    return ask_git(root, "show", "--end-of-options", f"{revision}:./{path}")
