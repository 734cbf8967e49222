"""Every agent, behind the one contract of `types.Agent`."""
