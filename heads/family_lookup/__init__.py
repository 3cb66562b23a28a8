"""The nearest family: neighbours, their votes, and a probability that means something."""
