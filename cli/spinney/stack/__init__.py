"""The local stack: everything Spinney needs, on one machine, as processes of its own."""
