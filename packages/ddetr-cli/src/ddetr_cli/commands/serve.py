"""`ddetr serve`: detection over HTTP with an exported file."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ddetr_cli.commands.arguments import ServeArguments
from ddetr_cli.passphrase import key_of_environment
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.tao import CommandLineError
from ddetr_cli.terminal import RunConsole, patient

if TYPE_CHECKING:
    from ddetr_data.detection import Precision, Runtime

_LAST_ANSWERS_SECONDS = 2.0  # of requests whose time is over
_LONGEST_STOP_SECONDS = 9.5


def main(arguments: ServeArguments, console: RunConsole) -> int:
    """Answer until interrupted; the key of an encrypted file is the environment's."""
    if arguments.allow_code is not None:
        raise CommandLineError("--allow-code is no option of serve: a server runs nobody's code")
    from ddetr_export import open_detector, serve

    key = key_of_environment()
    detector = open_detector(
        arguments.model,
        encryption_key=key,
        runtime=cast("Runtime", arguments.runtime),
        precision=cast("Precision", arguments.precision),
    )
    for notice in detector.notices:
        console.notice(notice)
    with patient(min(arguments.stop_seconds + _LAST_ANSWERS_SECONDS, _LONGEST_STOP_SECONDS)):
        serve(
            detector,
            arguments,
            on_ready=lambda address: console.say(
                f"{detector.description}; "
                f"open {address} or post images to {address}/predict; Ctrl+C ends it"
            ),
            on_notice=console.notice,
        )
    return EXIT_SUCCESS
