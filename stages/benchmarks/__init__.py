"""Benchmarks of speed and memory, as ratios within one run; `make bench` runs the main ones."""
