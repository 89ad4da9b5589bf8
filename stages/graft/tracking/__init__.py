"""MLflow: runs, the model registry, the packaged model, and where results come from."""
