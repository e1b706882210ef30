"""Spinney's cluster."""
