"""Questions to git, asked so that a commit or a DVC command that runs at the same time is not disturbed."""

import subprocess
from pathlib import Path

LAST_COMMIT = "HEAD"
"""Git's name for it."""

SECONDS_TO_ANSWER = 60.0
"""A git that takes longer waits for something that does not come, such as a network disk."""


def ask_git(root: Path, *arguments: str, given: str = "") -> bytes | None:
    """Run a git command and give what it prints.

    Args:
        root: the folder to run it in.
        arguments: the command and its options.
        given: text for its standard input.
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
    """Give the bytes of a file at a commit; None when git does not have it.

    Args:
        root: the repository, or a folder in it.
        path: relative to `root`.
        revision: a commit, a branch or a tag.
    """
    return ask_git(root, "show", "--end-of-options", f"{revision}:./{path}")
