"""Fine-tuning: the training loop, its checkpoints, cached activations, and what the network forgets."""
