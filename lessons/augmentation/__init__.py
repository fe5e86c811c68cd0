"""The lesson augmentation."""
