"""Sequences to vectors: plan what is missing, run the model in batches, pool, and commit parts to the store."""
