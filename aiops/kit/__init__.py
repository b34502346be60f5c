"""Tools that know nothing of GPUs, models or alerts."""
