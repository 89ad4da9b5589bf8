"""Run a command of `graft` in the process of the test."""

from stages import cli


def graft(*arguments: object) -> None:
    """Run `graft ARGUMENTS`; where it fails, SystemExit has its message or its exit code."""
    cli.main.main([str(argument) for argument in arguments], prog_name="graft", standalone_mode=False)
