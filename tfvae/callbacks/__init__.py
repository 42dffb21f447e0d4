"""What runs during `fit`."""

from tfvae.callbacks.monitoring import CollapseMonitor, EarlyStopping, ProgressBar

__all__ = ["CollapseMonitor", "EarlyStopping", "ProgressBar"]
