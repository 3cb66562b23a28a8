"""Maintenance of a store: verify, compact, gc and remove."""
