"""What can be found out about a model of one's own, before training and after."""

from tfvae.checking.checkup import check
from tfvae.checking.findings import Checkup, Finding

__all__ = ["Checkup", "Finding", "check"]
