"""A trained agent that can be asked: recommend, explain, talk; a client of its server."""

from dlerse_jax.serving.client import Client

__all__ = ["Client"]
