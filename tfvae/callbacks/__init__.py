"""What runs during `fit`."""

from tfvae.callbacks.monitoring import CollapseMonitor, ProgressBar

__all__ = ["CollapseMonitor", "ProgressBar"]
