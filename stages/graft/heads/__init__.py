"""The last layers of a classifier, fitted on features."""
