"""What runs during `fit`."""

from tfvae.callbacks.checkpoint import Checkpoint
from tfvae.callbacks.monitoring import CollapseMonitor, EarlyStopping, ProgressBar
from tfvae.callbacks.tensorboard import TensorBoard

__all__ = ["Checkpoint", "CollapseMonitor", "EarlyStopping", "ProgressBar", "TensorBoard"]
