"""Doors to the people: each receiver gets every notice or we count why not."""
