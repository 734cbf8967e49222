"""Policies trained on logged likes, one file a method."""
