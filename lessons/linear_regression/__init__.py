"""The lesson linear_regression."""
