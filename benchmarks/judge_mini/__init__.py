"""What `mini` is measured by on data held out: sets, models, intervals, and one module for each kind of measure."""
