"""Texts about classes of actions: descriptions, questions, checks, and tables of their features."""
