"""Tests that need a GPU; tests/conftest.py skips them where there is none."""
