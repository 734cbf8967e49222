"""The simulated user, and episodes played by an agent."""
