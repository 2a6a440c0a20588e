"""Damaged recordings by the thousand: whole ones, ways to damage them, and what readers do."""
