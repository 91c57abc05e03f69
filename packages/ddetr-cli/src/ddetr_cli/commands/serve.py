"""`ddetr serve`: detection over HTTP with an exported file."""

from __future__ import annotations

from ddetr_cli.commands.arguments import ServeArguments
from ddetr_cli.passphrase import key_of_environment
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.terminal import RunConsole


def main(arguments: ServeArguments, console: RunConsole) -> int:
    """Answer until interrupted; the key of an encrypted file is the environment's."""
    from ddetr_export import open_detector, serve

    key = key_of_environment()
    detector = open_detector(arguments.model, encryption_key=key)
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
