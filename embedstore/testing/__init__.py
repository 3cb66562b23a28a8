"""Contract batteries, simulated protein families and small checkpoints: for our tests and for those of plug-ins."""
