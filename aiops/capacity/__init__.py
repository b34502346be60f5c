"""Turns queues into replica advice; pure."""
