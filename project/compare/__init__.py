"""A comparison: variants times seeds, claims about them, and a verdict on each."""
