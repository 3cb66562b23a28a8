"""Training by gradient descent: tokens, batches, objectives, epochs, schedule, checkpoints and distributed runs."""
