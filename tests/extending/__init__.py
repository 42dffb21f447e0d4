"""Families of a user of the package, and what the package does with them."""
