"""Tests of ``kinegraph data fetch`` against a web server of their own."""
