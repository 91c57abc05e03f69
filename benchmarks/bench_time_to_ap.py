"""How soon a detector from random weights reaches an AP: ours, and transformers' by its Trainer.

    python benchmarks/bench_time_to_ap.py demo          # three seeds, the peer at three rates
    python benchmarks/bench_time_to_ap.py bccd --seeds 1 --rates 5e-4

Both see the same images by the same augmentation, in batches of one size, and are judged by the
same scores of the validation images after every epoch; the minutes hold everything,
validation too. The peer has our architecture in transformers' words, our weights of the losses, our
clipping, warm-up and schedule. Two things are made better for it than they come: its batch norms
are live, where transformers freezes them with statistics that no training has made, and every
parameter trains. What transformers lacks, denoising queries and a mean of the weights, it goes
without.

The goal is 90 % of the AP that ours ends with, the median of the seeds. A run of the peer ends when
it reaches the goal, or has taken three times the median of our times to it, or has seen its epochs:
"not reached" is a result. Runs are kept in results/time_to_ap_SET.json one by one, and the script
goes on where it stopped. The Trainer wants `pip install accelerate`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench_pipeline import RESULTS
from bench_recipes import SETS, train
from transformers_trainer import train_peer

from ddetr_cli.spec import Experiment, load_spec

GOAL = 0.9  # of our last AP
PATIENCE = 3  # times our time to the goal
FACTORS = (0.5, 1.0, 2.0)  # of our rate
VALIDATION_INTERVAL = 1  # epochs
_OURS = {"train.validation_interval": VALIDATION_INTERVAL}


def main() -> None:
    """Run what is missing, ours first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", help="of the peer")
    parser.add_argument(
        "--peer", nargs=4, metavar=("SPEC", "RATE", "SEED", "GOAL"), help=argparse.SUPPRESS
    )
    parser.add_argument("--minutes", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        spec, rate, seed, goal = options.peer
        limits = (float(goal), options.minutes)
        run = train_peer(Path(spec), float(rate), int(seed), limits, VALIDATION_INTERVAL)
        sys.stdout.write(json.dumps(run) + "\n")
        return
    target = RESULTS / f"time_to_ap_{options.set}.json"
    report = json.loads(target.read_text("utf-8")) if target.is_file() else {"ours": {}, "peer": {}}

    def keep() -> None:
        target.write_text(json.dumps(summarised(report), indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory(prefix="ddetr-peer-") as folder:
        spec = SETS[options.set](Path(folder))
        experiment = load_spec(Experiment, spec).spec
        for seed in range(options.seeds):
            if str(seed) not in report["ours"]:
                with tempfile.TemporaryDirectory(prefix="ddetr-ours-") as own:
                    report["ours"][str(seed)] = train(options.set, _OURS, seed, Path(own))
                keep()
        report["goal_AP"], limit = goal_of(report["ours"])
        rate = experiment.train.optim.lr
        for peer_rate in options.rates or [rate * factor for factor in FACTORS]:
            runs = report["peer"].setdefault(f"{peer_rate:g}", {})
            for seed in range(options.seeds):
                if str(seed) not in runs:
                    runs[str(seed)] = run_peer(spec, peer_rate, seed, report["goal_AP"], limit)
                    keep()
    print(json.dumps(summarised(report)["summary"], indent=1))


def goal_of(runs: Mapping[str, Any]) -> tuple[float, float]:
    """The AP to reach, and the minutes after which the peer is stopped."""
    goal = GOAL * statistics.median(run["curve"][-1]["val_AP"] for run in runs.values())
    times = [time_to(run["curve"], goal) for run in runs.values()]
    return round(goal, 4), PATIENCE * statistics.median(each for each in times if each is not None)


def time_to(curve: list[dict[str, float]], goal: float) -> float | None:
    """Minutes until a validation found the goal."""
    return next((each["minutes"] for each in curve if each["val_AP"] >= goal), None)


def summarised(report: dict[str, Any]) -> dict[str, Any]:
    """Add the times to the goal; null where it was not reached."""
    if "goal_AP" in report:
        goal = report["goal_AP"]
        report["summary"] = {
            "goal_AP": goal,
            "ours": {seed: time_to(run["curve"], goal) for seed, run in report["ours"].items()},
            "peer": {
                rate: {seed: time_to(run["curve"], goal) for seed, run in runs.items()}
                for rate, runs in report["peer"].items()
            },
        }
    return report


def run_peer(spec: Path, rate: float, seed: int, goal: float, minutes: float) -> dict[str, Any]:
    """Train the peer in a process of its own and read what it prints last."""
    words = [str(spec), str(rate), str(seed), str(goal)]
    command = [sys.executable, __file__, "demo", "--peer", *words, "--minutes", str(minutes)]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"bench_time_to_ap: the peer ended with status {done.returncode}")
    run: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return run


if __name__ == "__main__":
    main()
