"""What every other package rests on: errors, params.yaml, how a stage runs, threads, processes, progress."""
