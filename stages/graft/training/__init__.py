"""Fine-tuning: the training loop, its checkpoints, cached activations, and measures of what the network forgets."""
