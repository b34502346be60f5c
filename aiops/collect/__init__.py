"""Doors to the outside that bring numbers in. A collector returns values and never pushes."""
