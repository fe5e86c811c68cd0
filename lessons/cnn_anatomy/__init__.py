"""The lesson cnn_anatomy."""
