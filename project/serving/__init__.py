"""Saved models in use: predictions from files, a server, exports."""
