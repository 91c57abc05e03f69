"""What TensorBoard, MLflow and W&B are given."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FAST = {"num_epochs": 1}
WANDB_HEAD, WANDB_BLOCK, WANDB_LAST_PARTS = 7, 32768, (1, 4)


def losses(recorder) -> list[float]:
    return [event.metrics["step_loss"] for event in recorder.of("step")]


def test_figures_are_in_the_log_and_in_the_events(run_training, recorder, tmp_path) -> None:
    """TensorBoard has the losses, each group's rate and the 12 scores, as the events do."""
    run_training(**FAST)
    log = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    tags = set(log.Reload().Tags()["scalars"])
    scores = {f"val_{name}" for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    scores |= {f"val_{name}" for name in ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")}
    rates = {"lr_base", "lr_backbone", "lr_linear_proj"}
    assert tags >= {"step_loss", "train_loss", "val_loss"} | rates | scores
    assert tags >= {"gradient_norm", "images_per_second", "peak_memory_gib"}
    assert scores <= recorder.of("validation")[0].metrics.keys()
    logged = [point.value for point in log.Scalars("step_loss")]
    assert logged == pytest.approx(losses(recorder))


def test_sample_pictures_show_detections_beside_labels(run_training, recorder, tmp_path) -> None:
    """One for each of the first images: the right half has the boxes of the labels on it."""
    run_training(**FAST)
    log = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = log.Tags()["images"]
    assert len(tags) == 3
    picture = np.asarray(Image.open(io.BytesIO(log.Images(tags[0])[0].encoded_image_string)))
    assert picture.shape == (64, 128, 3)
    left, right = picture[:, :64].astype(int), picture[:, 64:].astype(int)
    assert np.abs(left - right).max() > 100


def test_mlflow_gets_the_same_figures_in_a_folder(run_training, recorder, tmp_path) -> None:
    """The run lies below the results, and nothing goes over a network."""
    mlflow = pytest.importorskip("mlflow")
    run_training(**FAST, loggers=["tensorboard", "mlflow"])
    client = mlflow.MlflowClient((tmp_path / "run" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("ddetr")
    (run,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(run.info.run_id, "step_loss")
    assert [point.value for point in points] == pytest.approx(losses(recorder))
    assert "val_AP" in run.data.metrics
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_resumed_run_stays_one_run_of_mlflow(run_training, recorder, tmp_path) -> None:
    """Its figures follow those of before."""
    mlflow = pytest.importorskip("mlflow")
    run_training(**FAST, loggers=["mlflow"])
    run_training(num_epochs=2, loggers=["mlflow"])
    client = mlflow.MlflowClient((tmp_path / "run" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("ddetr")
    (run,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(run.info.run_id, "step_loss")
    assert [point.value for point in points] == pytest.approx(losses(recorder))
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_a_missing_library_is_a_sentence(run_training, tmp_path, monkeypatch, name) -> None:
    """It says what to install, before anything is written."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"ddetr-train\[{name}\]"):
        run_training(loggers=[name])
    assert not (tmp_path / "run").exists()


def test_the_default_goes_without_a_library_that_is_missing(
    run_training, recorder, tmp_path, monkeypatch
) -> None:
    """Nobody has asked for TensorBoard by name: the training says once that it has no log."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    run_training(**FAST)
    assert not (tmp_path / "run" / "tensorboard").exists()
    notice = "no tensorboard log is written; for one: pip install 'ddetr-train[tensorboard]'"
    assert recorder.text().splitlines().count(notice) == 1


def wandb_records(file: Path) -> Iterator[bytes]:
    """What W&B keeps for a later upload: a log in LevelDB's format, after a head of its own."""
    data, place, record = file.read_bytes(), WANDB_HEAD, b""
    while place + WANDB_HEAD <= len(data):
        left = WANDB_BLOCK - place % WANDB_BLOCK
        if left < WANDB_HEAD:
            place += left
            continue
        _, length, part = struct.unpack("<IHB", data[place : place + WANDB_HEAD])
        place += WANDB_HEAD
        record += data[place : place + length]
        place += length
        if part in WANDB_LAST_PARTS:
            yield record
            record = b""


def wandb_history(folder: Path, name: str) -> list[float]:
    """A figure's values, through all runs of the folder."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    values = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in wandb_records(file):
            record = messages.Record.FromString(data)
            items = {
                item.key or item.nested_key[0]: item.value_json for item in record.history.item
            }
            values += [json.loads(items[name])] if name in items else []
    return values


def test_wandb_gets_the_same_figures_in_a_folder(run_training, recorder, tmp_path) -> None:
    """Its file is closed with the run, complete; a run that goes on keeps its name."""
    pytest.importorskip("wandb")
    run_training(**FAST, loggers=["wandb"])
    assert wandb_history(tmp_path / "run", "step_loss") == pytest.approx(losses(recorder))
    assert len(wandb_history(tmp_path / "run", "val_AP")) == 1
    run_training(num_epochs=2, loggers=["wandb"])
    assert wandb_history(tmp_path / "run", "step_loss") == pytest.approx(losses(recorder))
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 2
    assert len({file.name for file in runs}) == 1


def test_wandb_keeps_no_command_line(run_training, monkeypatch, tmp_path) -> None:
    """A key may stand there; and a run that fails is closed too."""
    pytest.importorskip("wandb")
    monkeypatch.setattr(sys, "argv", ["ddetr", "train", "-k", "open-sesame"])

    def fail(event) -> None:
        if event.kind == "step" and event.step == 3:
            raise RuntimeError("a test stops it")

    with pytest.raises(RuntimeError, match="a test stops it"):
        run_training(**FAST, loggers=["wandb"], observers=[fail], encryption_key="open-sesame")
    assert len(wandb_history(tmp_path / "run", "step_loss")) == 3
    files = [path for path in (tmp_path / "run" / "wandb").rglob("*") if path.is_file()]
    assert files
    assert not any(b"open-sesame" in path.read_bytes() for path in files)


def test_no_logger_is_loaded_that_was_not_asked_for(run_training, tmp_path) -> None:
    """An empty list leaves no log."""
    run_training(**FAST, loggers=[])
    folders = {path.name for path in (tmp_path / "run").iterdir()}
    assert not folders & {"tensorboard", "mlflow", "wandb"}


def test_a_resumed_run_tells_tensorboard_each_step_once(run_training, tmp_path) -> None:
    """Steps after the last checkpoint come again; what was logged of them before is hidden."""

    def stop(event) -> None:
        if event.kind == "step" and event.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(**FAST, checkpoint_interval_steps=2, observers=[stop])
    run_training(**FAST, checkpoint_interval_steps=2)
    log = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [point.step for point in log.Scalars("step_loss")] == [1, 2, 3, 4, 5]
