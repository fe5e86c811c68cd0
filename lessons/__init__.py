"""Lessons: comparisons that explain themselves, and modules that several of them share."""
