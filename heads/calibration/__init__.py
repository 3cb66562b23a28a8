"""Calibrated probabilities, decision thresholds and risk control."""
