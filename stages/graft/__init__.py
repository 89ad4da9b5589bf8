"""Graft's library. Imports go one way, from compute, report and maintenance down to storage and core."""
