"""Tools of the development."""
