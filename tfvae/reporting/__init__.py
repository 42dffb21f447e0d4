"""One self-contained HTML page about a model: what it makes of data, where its nats go, and why."""

from tfvae.reporting.page import report
from tfvae.reporting.verdicts import Verdict, verdicts

__all__ = ["Verdict", "report", "verdicts"]
