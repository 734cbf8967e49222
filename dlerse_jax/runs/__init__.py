"""A run directory: one format, its writer and its readers."""
