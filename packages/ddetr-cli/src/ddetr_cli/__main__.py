"""The command `ddetr`, `python -m ddetr_cli`: the sentence that is owed where it cannot load."""

import sys


def main() -> None:
    """Run the command line; packages of ours that are too old for it are one sentence and 2."""
    try:
        from ddetr_cli.app import main as run
    except Exception:
        from ddetr_cli.versions import SIBLINGS, find_misfits, sentence_of

        mixed = find_misfits(SIBLINGS)
        if not mixed:
            raise
        sys.stderr.write(f"ddetr: {sentence_of(mixed)}\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
