"""What every other package may use: errors, signals, types, console, statistics."""
