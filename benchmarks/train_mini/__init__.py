"""How `mini` was made: data, objectives, training, and what the runs were judged by."""
