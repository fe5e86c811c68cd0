"""LightningModules, one file each, and the tasks, losses and schedules that they share."""
