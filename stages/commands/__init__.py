"""What the commands of `graft` do: one module a command, one function that `stages/cli.py` calls."""
