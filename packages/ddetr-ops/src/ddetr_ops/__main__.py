"""python -m ddetr_ops: say what runs here; exit status 1 if a kernel gives wrong numbers."""

import sys

from ddetr_ops.diagnosis import doctor


def main() -> int:
    """Write the diagnosis to the standard output."""
    diagnosis = doctor()
    sys.stdout.write(f"{diagnosis}\n")
    return 0 if diagnosis.healthy else 1


if __name__ == "__main__":
    sys.exit(main())
