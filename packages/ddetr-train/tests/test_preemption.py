"""What a signal to a training sets going ends with the training."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ddetr_data.detection import RunEvent
from ddetr_train.callbacks import TrainingPreempted

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.mark.parametrize("times", [1, 2])
def test_no_timer_of_a_signal_outlives_its_training(run_training, in_a_process, times) -> None:
    """It would send a signal to whatever the process does then; two at once are one request."""
    # fault 10

    def tell(event: RunEvent) -> None:
        if event.kind == "step":
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        with pytest.raises(TrainingPreempted, match="after step 1"):
            run_training(observers=[tell])
        for each in threading.enumerate():
            if isinstance(each, threading.Timer):
                each.join(1.0)
                assert not each.is_alive()

    assert in_a_process(work) == 0
