"""Proof that an exported file computes what its checkpoint computes."""

import lazy_loader

# Found on first use, for not all of them need PyTorch; __init__.pyi says where each lives.
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

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
