"""Heads on vectors, one file each, and what they are made of."""
