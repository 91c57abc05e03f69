"""What `ddetr inference` tells of images and videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ddetr_cli.app import main
from ddetr_cli.spec import Experiment, load_spec
from ddetr_model.checkpoints import save_checkpoint
from ddetr_model.deformable_detr import DeformableDETR

FRAMES = 6


def write_video(path: Path) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for level in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_videos_alone_are_counted_as_videos(tiny_spec: Path, tmp_path: Path, capsys) -> None:
    """No word about images, only folders that exist, and the frames while they are labelled."""
    write_video(tmp_path / "films" / "a.mp4")
    checkpoint = tmp_path / "model.pth"
    config = load_spec(Experiment, tiny_spec, []).spec.model
    save_checkpoint(DeformableDETR(config), checkpoint, preprocess={"shortest_edge": 64})
    options = [
        f"inference.checkpoint={checkpoint}",
        f"dataset.infer_data_sources.image_dir={tmp_path / 'films'}",
    ]
    with pytest.raises(SystemExit) as end:
        main(["inference", "-e", str(tiny_spec), *options])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    lines = [line.strip() for line in shown.splitlines()]
    folder = tmp_path / "results" / "inference"
    assert f"1 video ({FRAMES} frames)" in lines
    assert f"frames of a.mp4  0/{FRAMES}" in lines
    assert "labelling 1 video" in lines
    assert "images" not in shown
    named = [line.partition(": ")[2] for line in lines if f": {folder}" in line]
    assert str(folder / "videos_annotated") in named
    assert all(Path(path).is_dir() for path in named)
    kpi = json.loads((folder / "status.json").read_text().splitlines()[-1])["kpi"]
    assert (kpi["images"], kpi["videos"], kpi["frames"]) == (0, 1, FRAMES)
