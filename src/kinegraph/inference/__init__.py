"""From a trained run and recordings to answers: predictions and drawings."""
