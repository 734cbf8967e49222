"""From a config to finished runs: all that reads a config."""
