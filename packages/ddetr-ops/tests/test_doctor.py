"""The doctor says what runs and finds wrong numbers."""

from __future__ import annotations

import dataclasses

import pytest

from ddetr_ops import doctor
from ddetr_ops.__main__ import main


def test_the_report_names_back_ends_and_proves_them(capsys):
    """python -m ddetr_ops prints versions, each device's state and the self-tests."""
    assert main() == 0
    report = capsys.readouterr().out
    assert "ddetr-ops" in report
    assert "cpu: " in report
    assert "cuda: " in report
    agrees = "cpu: agrees with the reference" in report
    assert agrees == (not doctor(self_test=False).problems["cpu"])


def test_without_the_self_test_it_only_looks():
    """The same report but for the tests."""
    diagnosis, whole = doctor(self_test=False), doctor()
    assert not diagnosis.self_tests
    assert diagnosis == dataclasses.replace(whole, self_tests=())


def test_wrong_numbers_make_it_unhealthy():
    """An error above float32's reach is said and counts."""
    diagnosis = doctor()
    assert diagnosis.healthy
    if not diagnosis.self_tests:
        pytest.skip(diagnosis.problems["cpu"])
    wrong = dataclasses.replace(diagnosis.self_tests[0], backward_error=0.1)
    assert "DISAGREES" in str(wrong)
    assert not dataclasses.replace(diagnosis, self_tests=(wrong,)).healthy
