"""The lesson mlp_vs_cnn."""
