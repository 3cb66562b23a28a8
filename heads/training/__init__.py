"""Training by gradient descent: objectives, optimizer, schedule, checkpoints and distributed runs."""
