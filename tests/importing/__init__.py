"""Tests of imports in parts, of merging, comparing and verifying stores."""
