"""What the `spinney` command can do, one small module for each group of commands."""
