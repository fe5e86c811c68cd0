"""Runs that were tracked: listed, compared, reproduced."""
