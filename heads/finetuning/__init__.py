"""Fine-tuning: an encoder and a head on it, trained end to end, and kept as a model."""
