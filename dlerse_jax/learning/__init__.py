"""Losses, replay of whole episodes, and the optimiser."""
