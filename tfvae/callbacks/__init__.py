"""What runs during `fit`."""

from tfvae.callbacks.checkpoint import Checkpoint
from tfvae.callbacks.monitoring import CollapseMonitor, EarlyStopping, ProgressBar

__all__ = ["Checkpoint", "CollapseMonitor", "EarlyStopping", "ProgressBar"]
