"""Random numbers as a function of (seed, epoch, batch, rank), so that a resume needs no state."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def seed_run(seed: int) -> None:
    """Seed Python, NumPy and PyTorch for everything that happens before the first batch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_batch(seed: int, epoch: int, batch_idx: int, rank: int) -> None:
    """Seed PyTorch for one training step: dropout is all that draws from it."""
    text = f"{seed}/{epoch}/{batch_idx}/{rank}".encode()  # neighbours get unrelated seeds
    torch.manual_seed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1)
