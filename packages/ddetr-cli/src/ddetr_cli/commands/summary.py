"""`ddetr summary`: how large the model of a spec is."""

from __future__ import annotations

from ddetr_cli.commands.arguments import SummaryArguments
from ddetr_cli.commands.train import model_for_training
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import Experiment, load_spec
from ddetr_cli.terminal import RunConsole


def main(arguments: SummaryArguments, console: RunConsole) -> int:
    """Show parameters and operations by part, and the memory of one image in training."""
    loaded = load_spec(Experiment, arguments.spec, arguments.overrides or ())
    config, losses = model_for_training(loaded.spec), loaded.spec.model.losses()
    from ddetr_model import DeformableDETR, summarize

    model = DeformableDETR(config, losses=losses, load_backbone_file=False)
    console.say(summarize(model, (arguments.height, arguments.width)).table())
    return EXIT_SUCCESS
