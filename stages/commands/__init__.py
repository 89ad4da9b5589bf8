"""What `graft` runs beside the pipeline: one module a command."""
