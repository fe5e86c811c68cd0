"""Comparisons: variants trained over seeds, claims about them, and a verdict on each claim."""
