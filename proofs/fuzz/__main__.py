"""Damaged and odd files through every door: no traceback, no hang, exit 0, 1 or 2, one sentence.

    python -m proofs.fuzz [--slice] [--only GROUP/NUMBER]

Whole files are made, damaged by a seeded generator, and shown to the doors of `doors.py` in another
process, with limits of time and memory. A fault that is known and not mended yet stands in KNOWN.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from proofs.fuzz.cases import Case, Group, groups
from proofs.fuzz.doors import DOORS, SCREEN
from proofs.fuzz.worker import Worker
from proofs.record import Known, Proof, run_proof
from proofs.small_project import SPEC, write_toy_onnx

KNOWN: tuple[Known, ...] = ()
LOADS_TORCH = frozenset({"dataset"})


def prove(proof: Proof) -> None:
    """Show every case to its doors."""
    with tempfile.TemporaryDirectory(prefix="ddetr-fuzz-") as name:
        common = Path(name)
        (common / "spec.yaml").write_text(SPEC, "utf-8")
        write_toy_onnx(common / "toy.onnx")
        worker = Worker(DOORS, common / SCREEN)
        try:
            if not proof.is_slice and (problem := worker.run("prepare", common).problem):
                raise RuntimeError(f"the whole files cannot be written: {problem}")
            for group in groups():
                _show_group(proof, group, worker, common)
        finally:
            worker.close()


def _show_group(proof: Proof, group: Group, worker: Worker, common: Path) -> None:
    if proof.only:
        name, _, number = proof.only.partition("/")
        cases = [group.case(int(number), common)] if name == group.name else []
    else:
        cases = list(group.cases(common, is_slice=proof.is_slice))
        proof.tried.append(f"{len(cases)} cases of {group.name}")
    for case in cases:
        _show(proof, case, worker, common)


def _show(proof: Proof, case: Case, worker: Worker, common: Path) -> None:
    folder = common / "case"
    for door in case.doors:
        if proof.is_slice and door in LOADS_TORCH:
            continue
        case.write(folder)
        outcome = worker.run(door, folder)
        shutil.rmtree(folder)
        kind = case.name.partition("/")[0]
        if outcome.problem:
            proof.failed(f"{door}/{case.name}", outcome.problem)
        else:
            proof.passed(f"{kind} through {door}: {outcome.status}")


if __name__ == "__main__":
    run_proof("fuzz", "Damaged and odd files through every door.", prove, KNOWN)
