"""Data sources, their splits, augmentation and the LightningDataModule over them."""
