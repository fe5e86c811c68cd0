"""Models, one file each, and the tasks, layers and schedules that they share."""
