"""Published results as plans: which runs, with which seeds, added up how, compared with what."""
