"""When a label looks wrong."""

MAX_PROBABILITY = 0.05
"""Of a label that looks wrong: heads fitted without the image give it less than this.

Labels moved at random are nearly always below. What confident learning suspects besides are mostly the errors of a weak
head: `stages.benchmarks.compare_suggestions` counts both.
"""
