"""One run's training: devices, callbacks, the loop and its result."""
