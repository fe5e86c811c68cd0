"""The lesson supervised_and_unsupervised."""
