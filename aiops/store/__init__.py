"""Keeps numbers (a columnar window of fixed memory) and decisions (SQLite)."""
