"""The nearest family of a protein: neighbours, their votes, and calibrated probabilities."""
