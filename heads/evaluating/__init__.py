"""Reports on one head, and comparisons of several."""
