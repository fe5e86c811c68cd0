"""Basics shared by all packages: errors, signals, types, console, statistics."""
