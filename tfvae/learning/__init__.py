"""Which weights a batch updates, by what, and what follows where that fails; for `compile`."""

from tfvae.learning.alternating import Alternating
from tfvae.learning.base import Joint, Scheme, Update
from tfvae.learning.expectation_maximisation import EMResult
from tfvae.learning.remedies import Best, GoBack, Last, Raise, Remedy, Skip
from tfvae.learning.semi_amortised import SemiAmortised
from tfvae.learning.wake_sleep import WakeSleep

__all__ = [
    "Alternating",
    "Best",
    "EMResult",
    "GoBack",
    "Joint",
    "Last",
    "Raise",
    "Remedy",
    "Scheme",
    "SemiAmortised",
    "Skip",
    "Update",
    "WakeSleep",
]
