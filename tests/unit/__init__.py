"""Parts on their own, and what they do together."""
