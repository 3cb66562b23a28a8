"""Training by gradient descent: tokens, batches, objectives, epochs, optimizer, checkpoints and distributed runs."""
