"""`python -m ddetr_cli` is the command `ddetr`."""

from ddetr_cli.app import main

if __name__ == "__main__":
    main()
