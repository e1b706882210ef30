"""Spinney's root."""
