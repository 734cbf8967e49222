"""Flax modules of the Q-network: attention, interest encoders, fusion, heads."""
