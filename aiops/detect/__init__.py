"""Pure scoring of all series of a tick at once."""
