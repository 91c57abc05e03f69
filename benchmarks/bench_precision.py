"""What 16 bits cost in accuracy on real images: one checkpoint, scored in each precision.

    python benchmarks/bench_precision.py --run DIR

DIR is the results_dir of a training by docs/specs/bccd_from_scratch.yaml. Runs `ddetr evaluate` on
the test photographs of blood cells, which training never saw, once in each precision that this
machine has and with an exported file in each runtime, and keeps the scores and the wall seconds of
the whole command. DDETR_DATA names the folder that holds the set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench_bccd_from_scratch import write_spec
from bench_pipeline import RESULTS, run, scores
from machine import describe_machine

EXPORTED = "exported.onnx"  # 320 x 240, to which the photographs' shape and the recipe's size lead
EXPORT = ("export.input_height=240", "export.input_width=320", "export.score_images=0")
# Name, keys of `evaluate` and the file that it scores; None is the checkpoint.
WAYS: tuple[tuple[str, dict[str, str], str | None], ...] = (
    ("fp32", {"precision": "fp32"}, None),
    ("bf16", {"precision": "bf16"}, None),
    ("file, ONNX Runtime", {"runtime": "onnxruntime"}, EXPORTED),
    ("file, OpenVINO fp32", {"runtime": "openvino"}, EXPORTED),
    ("file, OpenVINO bf16", {"runtime": "openvino", "precision": "bf16"}, EXPORTED),
)


def main() -> None:
    """Score in every precision and write results/precision.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="results_dir of a training")
    results = parser.parse_args().run.resolve()
    status = (results / "train" / "status.json").read_text("utf-8").splitlines()
    report: dict[str, Any] = {
        "set": "bccd, test",
        "trained_epochs": 1 + max(json.loads(line).get("epoch") or 0 for line in status),
        "precisions": {},
    }
    with tempfile.TemporaryDirectory(prefix="ddetr-bench-") as folder:
        spec = write_spec(Path(folder))
        checkpoint = results / "train" / "dd_model_best.pth"
        made = (f"export.checkpoint={checkpoint}", f"export.onnx_file={folder}/{EXPORTED}")
        run(Path(folder), "export", "-e", spec, f"results_dir={folder}", *made, *EXPORT)
        for number, (name, options, file) in enumerate(WAYS):
            scored = checkpoint if file is None else Path(folder, file)
            keys = [f"evaluate.{key}={value}" for key, value in options.items()]
            keys += [f"evaluate.checkpoint={scored}", f"results_dir={folder}/{number}"]
            seconds = run(Path(folder), "evaluate", "-e", spec, *keys)
            found = scores(Path(folder, str(number), "evaluate"))
            report["precisions"][name] = {**found, "command_seconds": seconds}
    report["machine"] = describe_machine("torch", "onnxruntime", "openvino", "ddetr-cli")
    text = json.dumps(report, indent=2) + "\n"
    (RESULTS / "precision.json").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
