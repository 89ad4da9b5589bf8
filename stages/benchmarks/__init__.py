"""What `make bench` runs: speed and memory, as ratios within one run."""
