"""The doctor says what runs and finds wrong numbers."""

from __future__ import annotations

import dataclasses

from ddetr_ops import _native, doctor
from ddetr_ops.__main__ import main


def test_the_report_names_back_ends_and_proves_them(capsys):
    """python -m ddetr_ops prints versions, each device's state and the self-tests."""
    assert main() == 0
    report = capsys.readouterr().out
    assert "ddetr-ops" in report
    assert "cpu: " in report
    assert "cuda: " in report
    if not _native.problem_on("cpu"):
        assert "cpu: agrees with the reference" in report


def test_wrong_numbers_make_it_unhealthy():
    """An error above float32's reach is said and counts."""
    diagnosis = doctor()
    assert diagnosis.healthy
    test = dataclasses.replace(
        next(iter(diagnosis.self_tests), None) or _any_test(), backward_error=0.1
    )
    assert "DISAGREES" in str(test)
    assert not dataclasses.replace(diagnosis, self_tests=(test,)).healthy


def _any_test():
    from ddetr_ops.diagnosis import SelfTest

    return SelfTest("cpu", 0.0, 0.0, 1.0, 1.0)
