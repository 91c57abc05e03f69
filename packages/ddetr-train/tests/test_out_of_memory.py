"""Memory that runs out in a step is one sentence with what to change."""

from __future__ import annotations

import pytest
import torch

from ddetr_train.module import DetectionModule
from ddetr_train.process import OutOfMemoryError


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the GPU"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "this machine"),
        (MemoryError(), "this machine"),
    ],
)
def test_memory_that_runs_out_in_a_step_is_one_sentence(
    run_training, monkeypatch, error, where
) -> None:
    """Images and size of the batch, and the keys that make it smaller."""

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(DetectionModule, "training_step", fail)
    with pytest.raises(OutOfMemoryError) as refused:
        run_training()
    text = str(refused.value)
    assert text.startswith(f"{where} is out of memory with 2 images of up to 64 x 64")
    assert "train.activation_checkpoint" in text
    assert "train.accumulate_grad_batches" in text
