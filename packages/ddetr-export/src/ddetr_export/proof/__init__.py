"""Proof that an exported file computes what its checkpoint computes."""

from ddetr_export.proof.certificate import Certificate, certificate_path, certify
from ddetr_export.proof.check_images import load_images, read_images
from ddetr_export.proof.comparison import TOLERANCES, Comparison, Forward, agreement, compare
from ddetr_export.proof.divergence import first_divergence
from ddetr_export.proof.precision_scores import ForwardDetector, Score, score_networks

__all__ = [
    "TOLERANCES",
    "Certificate",
    "Comparison",
    "Forward",
    "ForwardDetector",
    "Score",
    "agreement",
    "certificate_path",
    "certify",
    "compare",
    "first_divergence",
    "load_images",
    "read_images",
    "score_networks",
]
