"""What comes into a model: one description, which names, checks and packs it."""
