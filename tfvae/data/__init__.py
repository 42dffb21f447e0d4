"""What comes into a model: one description, which names, checks and packs it; and tables."""

from tfvae.data.table import Column, Table

__all__ = ["Column", "Table"]
