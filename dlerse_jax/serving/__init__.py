"""A trained agent that can be asked: recommend, explain, talk; its server's client."""

from dlerse_jax.serving.client import Client

__all__ = ["Client"]
