"""`ddetr summary`: how large the model of a spec is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddetr_cli.commands.train import model_for_training
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import Experiment, load_spec
from ddetr_cli.terminal import RunConsole


def summarize_model(
    spec_file: Path,
    overrides: Sequence[str],
    image_size_hw: tuple[int, int],
    console: RunConsole,
) -> int:
    """Show parameters and operations by part, and the memory of one image in training."""
    config = model_for_training(load_spec(Experiment, spec_file, overrides).spec)
    from ddetr_model import DeformableDETR, summarize

    model = DeformableDETR(config, load_backbone_file=False)
    console.say(summarize(model, image_size_hw).table())
    return EXIT_SUCCESS
