"""Graft's library: nouns, no paths of its own, and no import of a stage script."""
