"""What the test split says about a model, what simple baselines reach, and what probes of the features show."""
