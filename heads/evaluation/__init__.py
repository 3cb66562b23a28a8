"""What a head does on rows, measured: outcomes, metrics with intervals, leakage, cost, proof."""
