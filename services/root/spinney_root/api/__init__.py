"""The REST doors of the root: HTTP in, commands and views of the state out."""
