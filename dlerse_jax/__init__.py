"""DLERSE in JAX: recommendations for users nobody knows yet, from whom they know."""
