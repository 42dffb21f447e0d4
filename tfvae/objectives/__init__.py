"""Objectives: the scores of one pass in, a bound out; and the schedules of their weights."""

from tfvae.objectives.base import Objective
from tfvae.objectives.elbo import ELBO
from tfvae.objectives.schedules import Constant, Cyclical, Linear, Schedule

__all__ = ["ELBO", "Constant", "Cyclical", "Linear", "Objective", "Schedule"]
