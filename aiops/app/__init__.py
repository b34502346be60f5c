"""Wiring: settings, the pipeline, the daemon and the command line."""
