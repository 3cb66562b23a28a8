"""Networks that learn from sequences alone, trained from scratch: the neural rows of the published comparisons."""
