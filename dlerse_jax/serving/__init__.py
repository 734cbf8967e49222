"""A trained agent that can be asked: recommend, explain, talk."""
