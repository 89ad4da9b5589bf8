"""What the commands of `graft` do: one module a command; `stages/cli.py` describes the options."""
