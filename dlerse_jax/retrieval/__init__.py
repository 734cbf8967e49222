"""Exact maximum inner-product search over the catalogue."""
