"""Basis of all packages: errors, params.yaml, image ids, the run of a stage, threads, processes, progress, git."""
