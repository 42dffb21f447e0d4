"""Objectives: the scores of one pass in, a bound out; gradients, and schedules of weights."""

from tfvae.objectives.base import Objective, Sum
from tfvae.objectives.elbo import ELBO
from tfvae.objectives.gradients import (
    DoublyReparameterised,
    GradientEstimator,
    LeaveOneOut,
    PathDerivative,
    Relaxed,
    Reparameterised,
    ScoreFunction,
    StraightThrough,
)
from tfvae.objectives.importance_weighted import ImportanceWeighted, Renyi
from tfvae.objectives.schedules import Constant, Cyclical, Linear, Schedule

__all__ = [
    "ELBO",
    "Constant",
    "Cyclical",
    "DoublyReparameterised",
    "GradientEstimator",
    "ImportanceWeighted",
    "LeaveOneOut",
    "Linear",
    "Objective",
    "PathDerivative",
    "Relaxed",
    "Renyi",
    "Reparameterised",
    "Schedule",
    "ScoreFunction",
    "StraightThrough",
    "Sum",
]
