"""What every registered part promises; new entries of the registries are tested without asking."""
