"""Policies trained on logged likes, one file per method."""
