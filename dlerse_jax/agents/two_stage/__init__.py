"""dlerse_rank: candidates from a linear first stage, re-ranked by a small network."""
