"""Graft's pipeline: one script per stage, named as in dvc.yaml; the library they share is stages.graft."""
