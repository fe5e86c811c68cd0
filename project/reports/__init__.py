"""What is measured, drawn and written about runs and data."""
