"""Numbers about predictions: accuracy, intervals, calibration, paired comparisons."""
