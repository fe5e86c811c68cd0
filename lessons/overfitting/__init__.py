"""The lesson overfitting."""
