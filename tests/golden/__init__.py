"""Parity with the original programs: their stored numbers against what our classes compute."""
