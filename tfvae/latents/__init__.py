"""What can be done with the latents of a model, and how good they are."""

from tfvae.latents.codes import codes
from tfvae.latents.traversals import Traversal, traversals

__all__ = ["Traversal", "codes", "traversals"]
