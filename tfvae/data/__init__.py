"""What comes into a model: one description, which names, checks and packs it; and tables."""

from tfvae.data.shuffling import keyed_passes, shuffled_rows
from tfvae.data.table import Column, Table

__all__ = ["Column", "Table", "keyed_passes", "shuffled_rows"]
