"""Signals before, in and after the work of a command: one sentence, exit status 130, and an end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

# The watch has a fifth of a second, and what follows takes one.
WATCHED = """
import os, signal, sys, threading
from ddetr_cli.terminal import ended_in_time, patient

def ask():
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)

def stay():
    threading.Event().wait(1)
    print("alive")

quick = patient(0.2)
quick.__enter__()
"""
IN_THE_BLOCK = "with ended_in_time(): ask(); stay()"
AFTER_THE_BLOCK = "with ended_in_time(): ask()\nstay()"
AT_THE_PROCESS_END = """
threading.Thread(target=stay).start()
with ended_in_time(with_process=True):
    ask()
    sys.exit(2)
"""


# Whatever these tests were started with: nohup ignores SIGHUP, a shell's "&" SIGINT.
HEARD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEARD + program, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("work", "exit_status", "said"),
    [(IN_THE_BLOCK, 130, ""), (AFTER_THE_BLOCK, 0, "alive\n"), (AT_THE_PROCESS_END, 2, "")],
    ids=["in the block", "after it", "at the end of the process"],
)
def test_a_process_is_ended_as_long_as_it_is_watched(work, exit_status, said) -> None:
    """A signal's watch ends what is stuck, and nothing that comes after what it watches."""
    # faults 9 and 10
    ended = python(WATCHED + work)
    assert (ended.returncode, ended.stdout) == (exit_status, said), ended.stderr


# A library that loads makes an error of its own of the signal, or Python drops it in a finalizer.
LOADING = """
import importlib, os, signal, sys
load = importlib.import_module

def disturbed(name, package=None):
    if name.startswith("ddetr_cli.commands."):
        importlib.import_module = load
        {disturb}
    return load(name, package)

def send():
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))

class Last:
    def __del__(self):
        send()

from ddetr_cli.app import main
importlib.import_module = disturbed
main(["check", "-e", sys.argv[2]])
"""
TURNED = "try:\n            send()\n        except BaseException as error:\n"
TURNED += "            raise ValueError('a schema') from error"
DROPPED = "Last()"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("disturb", [TURNED, DROPPED], ids=["turned", "dropped"])
def test_a_signal_while_libraries_load_is_one_sentence(
    tiny_spec: Path, disturb: str, name: str
) -> None:
    """Whatever became of the exception."""
    # faults 10 and 12
    ended = python(LOADING.format(disturb=disturb), name, str(tiny_spec))
    assert (ended.returncode, ended.stdout) == (130, ""), ended.stderr
    assert ended.stderr == f"ddetr: interrupted by {name}\n"


CHECKING = """
import os, signal, sys
import ddetr_cli.commands.check as check
checked = check.check_dataset

def disturbed(*arguments, **options):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    return checked(*arguments, **options)

check.check_dataset = disturbed
from ddetr_cli.app import main
main(["check", "-e", sys.argv[2]])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_command_without_a_record_is_interrupted_as_others_are(
    tiny_spec: Path, name: str
) -> None:
    """One sentence and 130, not the end that the system gives it."""
    # faults 10 and 12
    ended = python(CHECKING, name, str(tiny_spec))
    assert (ended.returncode, ended.stderr) == (130, "ddetr: interrupted\n")


def test_nohup_holds_for_commands_without_a_record(tiny_spec: Path) -> None:
    """SIGHUP that was ignored at the start stays ignored."""
    # fault 12
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    ended = python(ignoring + CHECKING, "SIGHUP", str(tiny_spec))
    assert ended.returncode in (0, 1), ended.stderr  # 1 for a warning of so small a set
