"""Recordings: reading them, keeping them in a store, splitting and loading them."""
