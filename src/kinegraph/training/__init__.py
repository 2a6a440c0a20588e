"""The training loop and what it needs: optimiser, checkpoints, tracking, the run folder."""
