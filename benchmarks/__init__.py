"""Timings of the project against a hand-written loop."""
