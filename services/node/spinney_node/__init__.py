"""Spinney's node."""
