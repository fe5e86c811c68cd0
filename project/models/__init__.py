"""Models, one file each, and the tasks, preprocessing and schedules that they share."""
