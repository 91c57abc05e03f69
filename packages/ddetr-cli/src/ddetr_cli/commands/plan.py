"""`ddetr plan`: what a training will take, before it takes it."""

from __future__ import annotations

from ddetr_cli.commands.arguments import SpecArguments
from ddetr_cli.commands.train import check, model_for_training
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import Experiment, load_spec
from ddetr_cli.terminal import RunConsole


def main(arguments: SpecArguments, console: RunConsole) -> int:
    """Show steps, memory and disk of the spec's training; what cannot fit is refused.

    Raises:
        SpecError, FileNotFoundError: as `ddetr train` would.
        PlanError: memory or disk are too small.
    """
    experiment = load_spec(Experiment, arguments.spec, arguments.overrides or ()).spec
    check(experiment)
    model = model_for_training(experiment)
    from ddetr_train.planning import free_disk_bytes, plan_training, readable_size

    dataset = experiment.dataset.model_copy(update={"num_classes": model.num_classes})
    folder = experiment.results_of("train")
    plan = plan_training(
        model,
        dataset,
        experiment.train,
        folder,
        [console.observe],
        losses=experiment.model.losses(),
    )
    for line in plan.lines():
        console.say(line)
    console.say(f"free: {readable_size(free_disk_bytes(folder))} where {folder} is")
    return EXIT_SUCCESS
