"""Use of saved models: predictions for files, a server, exports."""
