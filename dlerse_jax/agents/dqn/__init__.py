"""DLERSE and its relatives: dueling double deep Q-networks."""
