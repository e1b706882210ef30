"""What Spinney costs, measured on the real parts: ``make bench`` (see README.md)."""
