"""The factors of p and q by name: what draws, scores and adds up, for every model."""
