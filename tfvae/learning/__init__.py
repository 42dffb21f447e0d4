"""Learning schemes: which weights a batch updates, and by what; chosen in `compile`."""

from tfvae.learning.alternating import Alternating
from tfvae.learning.base import Joint, Scheme, Update
from tfvae.learning.expectation_maximisation import EMResult
from tfvae.learning.semi_amortised import SemiAmortised
from tfvae.learning.wake_sleep import WakeSleep

__all__ = ["Alternating", "EMResult", "Joint", "Scheme", "SemiAmortised", "Update", "WakeSleep"]
