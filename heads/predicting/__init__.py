"""Predictions for any proteins, and the files that they are written to."""
