"""What can be done with the latents of a model, and how good they are."""

from tfvae.latents.anomalies import Roc, anomaly_roc, likelihood_ratio
from tfvae.latents.calibration import Calibration, calibrate
from tfvae.latents.codes import codes
from tfvae.latents.information import factor_vae_score, mutual_information_gap
from tfvae.latents.neighbours import Neighbours, nearest_neighbours
from tfvae.latents.paths import Interpolation, interpolate, spherical, straight
from tfvae.latents.probes import ProbeScore, linear_probe, neighbour_probe
from tfvae.latents.readers import DCI, dci, separated_attribute_predictability
from tfvae.latents.temperature import TemperedSamples, sample_at, tempered
from tfvae.latents.traversals import Traversal, traversals
from tfvae.latents.two_samples import TwoSampleTest, mmd_test, two_sample_test

__all__ = [
    "DCI",
    "Calibration",
    "Interpolation",
    "Neighbours",
    "ProbeScore",
    "Roc",
    "TemperedSamples",
    "Traversal",
    "TwoSampleTest",
    "anomaly_roc",
    "calibrate",
    "codes",
    "dci",
    "factor_vae_score",
    "interpolate",
    "likelihood_ratio",
    "linear_probe",
    "mmd_test",
    "mutual_information_gap",
    "nearest_neighbours",
    "neighbour_probe",
    "sample_at",
    "separated_attribute_predictability",
    "spherical",
    "straight",
    "tempered",
    "traversals",
    "two_sample_test",
]
