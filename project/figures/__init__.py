"""Pure functions: arrays in, matplotlib Figure out."""
