"""HTTP: own metrics, health, the JSON API and the page."""
