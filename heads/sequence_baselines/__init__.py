"""Baselines on sequences: k-mers, composition, length, one-hot ridge and position means."""
