"""The public functions of heads: fit, predict, evaluate, compare, tune, join, load, finetune, lookup."""
