"""Weights of the original programs in our networks, and ours in theirs. Dicts in, dicts out."""
