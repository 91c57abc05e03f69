"""`ddetr check --with-model`: the labels that a detector doubts, as files and with images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddetr_cli.commands.arguments import CheckArguments
from ddetr_cli.commands.detector_file import checked_detector_file, open_detector
from ddetr_cli.spec import Experiment, SpecError, load_tree, model_of, read_spec_file
from ddetr_cli.terminal import RunConsole
from ddetr_data import DataSource

if TYPE_CHECKING:
    from ddetr_data.detection import Detector, LabelNoise, RunEvent

_FOLDER = "check"  # below results_dir, or of a set without a spec below the working folder
_KEY = "--with-model"


@dataclass(frozen=True)
class PreparedSearch:
    """A detector that is open, and what it shall look at."""

    detector: Detector
    splits: Mapping[str, Sequence[DataSource]]
    experiment: Experiment
    model: Path
    folder: Path

    def run(self, console: RunConsole, *, is_quiet: bool = False) -> None:
        """Detect, write label_noise.json, label_noise.csv and report.html, and say where.

        With is_quiet nothing goes to standard output, which holds JSON.

        Raises:
            FileNotFoundError, ValueError: labels and detector do not go together.
        """
        from ddetr_cli.report import write_label_noise_report
        from ddetr_data.detection import find_label_noise, write_label_noise

        def observe(event: RunEvent) -> None:
            if not is_quiet or event.kind == "notice":
                console.observe(event)

        dataset = self.experiment.dataset
        noise = find_label_noise(self.detector, self.splits, dataset, observers=[observe])
        console.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = write_label_noise(self.folder, noise, {"checkpoint": str(self.model)})
        report = write_label_noise_report(self.folder, noise, str(self.model))
        if not is_quiet:
            _show(noise, path, report, console)


def experiment_of(arguments: CheckArguments) -> Experiment:
    """Read the spec, or take the defaults where there is none.

    Raises:
        SpecError: it is wrong, or one of `convert`, whose labels no detector has seen.
    """
    if arguments.spec is None:
        return Experiment()
    tree = read_spec_file(arguments.spec)
    if model_of(tree) is not Experiment:
        raise SpecError(
            f"{_KEY} looks at COCO labels, {arguments.spec} is a spec of convert: convert "
            "first, then give a spec with data sources"
        )
    return load_tree(Experiment, tree, arguments.overrides or ()).spec


def prepare_search(
    arguments: CheckArguments, splits: Mapping[str, Sequence[DataSource]]
) -> PreparedSearch:
    """Open the detector; nothing is written yet.

    Raises:
        SpecError, FileNotFoundError, ValueError: as `evaluate`, of its file.
    """
    experiment, model = experiment_of(arguments), arguments.with_model
    config = experiment.evaluate.model_copy(update={"checkpoint": model, "trt_engine": None})
    path = checked_detector_file(config, "evaluate", experiment.passphrase, _KEY)
    detector = open_detector(config, "evaluate", experiment)
    folder = arguments.report or Path(_FOLDER)
    if arguments.report is None and arguments.spec is not None:
        folder = Path(experiment.results_dir) / _FOLDER
    return PreparedSearch(detector, splits, experiment, path, folder)


def _show(noise: LabelNoise, path: Path, report: Path, console: RunConsole) -> None:
    rows = [(kind, str(count)) for kind, count in noise.counts.items()]
    console.table("labels that the detector doubts", ["kind", "count"], rows)
    console.say(f"doubted labels: {path}")
    console.say(f"report: {report}")
