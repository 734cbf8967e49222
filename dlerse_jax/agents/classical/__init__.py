"""Policies without training: popularity, friends, bandits, EASE."""
