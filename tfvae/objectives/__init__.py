"""Objectives: the scores of one pass in, a bound out; gradients, and schedules of weights."""

from tfvae.objectives.base import Objective, Sum
from tfvae.objectives.constraints import TargetDistortion, TargetRate
from tfvae.objectives.dip import DIPVAE
from tfvae.objectives.elbo import ELBO
from tfvae.objectives.enumerated import Enumerated
from tfvae.objectives.gradients import (
    DoublyReparameterised,
    GradientEstimator,
    PathDerivative,
    Reparameterised,
)
from tfvae.objectives.importance_weighted import ImportanceWeighted, Renyi
from tfvae.objectives.kernels import RBF, InverseMultiquadratic, Kernel
from tfvae.objectives.matching import MMD, InfoVAE, SlicedWasserstein
from tfvae.objectives.rate_control import Capacity, FreeBits
from tfvae.objectives.relaxations import Relaxed, StraightThrough
from tfvae.objectives.schedules import Constant, Cyclical, Linear, Plateau, Schedule
from tfvae.objectives.score_function import LeaveOneOut, ScoreFunction
from tfvae.objectives.supervised import Supervised
from tfvae.objectives.total_correlation import (
    BatchWeights,
    BetaTC,
    MinibatchStratified,
    MinibatchWeighted,
    RateParts,
    split_rate,
)
from tfvae.objectives.wake_sleep import ForwardKL, ReweightedWakeSleep

__all__ = [
    "DIPVAE",
    "ELBO",
    "MMD",
    "RBF",
    "BatchWeights",
    "BetaTC",
    "Capacity",
    "Constant",
    "Cyclical",
    "DoublyReparameterised",
    "Enumerated",
    "ForwardKL",
    "FreeBits",
    "GradientEstimator",
    "ImportanceWeighted",
    "InfoVAE",
    "InverseMultiquadratic",
    "Kernel",
    "LeaveOneOut",
    "Linear",
    "MinibatchStratified",
    "MinibatchWeighted",
    "Objective",
    "PathDerivative",
    "Plateau",
    "RateParts",
    "Relaxed",
    "Renyi",
    "Reparameterised",
    "ReweightedWakeSleep",
    "Schedule",
    "ScoreFunction",
    "SlicedWasserstein",
    "StraightThrough",
    "Sum",
    "Supervised",
    "TargetDistortion",
    "TargetRate",
    "split_rate",
]
