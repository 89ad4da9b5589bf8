"""Measures of predictions: accuracy, intervals, calibration, paired comparisons."""
