"""Where extraction, fine-tuning and prediction run: on this machine or on a Ray cluster."""
