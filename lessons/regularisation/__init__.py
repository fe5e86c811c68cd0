"""The lesson regularisation."""
