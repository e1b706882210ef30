"""The demonstration: a small application is deployed, broken and mended on a local stack."""
