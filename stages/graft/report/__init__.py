"""Figures, the page of results, and what changed since another commit."""
