"""`ddetr replay`: the step at which a run stopped with NaN, once more in fp32 on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddetr_cli.commands.arguments import ReplayArguments
from ddetr_cli.passphrase import key_of_environment
from ddetr_cli.running import EXIT_FAILURE, EXIT_SUCCESS
from ddetr_cli.spec import existing_file
from ddetr_cli.terminal import RunConsole

if TYPE_CHECKING:
    from ddetr_train.nan import Replay


def main(arguments: ReplayArguments, console: RunConsole) -> int:
    """Say what is first not finite; exit status 0 when in fp32 all is finite, 1 when not."""
    evidence = existing_file(arguments.evidence, "the file to replay")
    from ddetr_train.nan import replay

    found = replay(evidence, encryption_key=key_of_environment())
    console.table("losses", ["loss", "value"], [(k, f"{v:.6g}") for k, v in found.losses.items()])
    for line in _story(found):
        console.say(line)
    return EXIT_SUCCESS if found.first_bad is None else EXIT_FAILURE


def _story(found: Replay) -> list[str]:
    lines = [f"epoch {found.epoch}, batch {found.batch_idx}: {', '.join(found.images)}"]
    lines.append(f"in the run ({found.precision}): {found.first_bad_in_run} was not finite first")
    if found.first_bad is not None:
        return [*lines, f"in fp32 on the CPU: {found.first_bad} is not finite first"]
    reason = (
        "the fault did not come from weights and batch alone"
        if found.precision == "fp32"
        else f"the fault came with {found.precision}: train with precision fp32, or bf16 for fp16"
    )
    return [*lines, f"in fp32 on the CPU: all is finite, the loss is {found.loss:.6g}; {reason}"]
