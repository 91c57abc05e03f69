"""`ddetr check`: every fault of a spec's data, or of one labelled set, in one pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ddetr_cli.commands.arguments import CheckArguments
from ddetr_cli.commands.label_noise import experiment_of, prepare_search
from ddetr_cli.running import EXIT_BAD_INPUT
from ddetr_cli.spec import Experiment, SpecError, given, load_tree, model_of, read_spec_file
from ddetr_cli.terminal import RunConsole
from ddetr_data import ConvertConfig, DataSource
from ddetr_data.check import CheckOptions, CheckReport, check_conversion, check_dataset
from ddetr_data.detection import Progress
from ddetr_data.files import write_whole
from ddetr_data.formats import read_mapping

STANDARD_OUTPUT = "-"

Splits = Mapping[str, Sequence[DataSource]]


def main(arguments: CheckArguments, console: RunConsole) -> int:
    """Show all findings and give 0 for clean data, 1 for warnings, 2 for errors.

    With a model it also writes what that doubts, which changes no exit status.
    With a json_file of "-" the findings are one JSON text on standard output, and nothing else is.

    Raises:
        SpecError: neither or both of a spec and a set are given, or the spec is wrong or names no
            labelled data.
    """
    arguments = _with_files_of_a_glob(arguments)
    _refuse_mixtures(arguments)
    json_file = arguments.json_file
    if json_file is not None and not Path(json_file).absolute().parent.is_dir():
        raise SpecError(f"--json {json_file}: its folder does not exist; make it first")
    search = None if arguments.with_model is None else prepare_search(arguments, _splits(arguments))
    progress = Progress([console.observe], "images") if json_file != STANDARD_OUTPUT else None
    report = _checked(arguments, progress)
    console.close()
    content = json.dumps(report.to_dict(), indent=1)
    if json_file == STANDARD_OUTPUT:
        console.document(content, **report.to_dict())
    else:
        console.deliver(**report.to_dict())
        _show(report, console)
        if json_file is not None:
            write_whole(json_file, content)
    if search is not None and report.exit_status < EXIT_BAD_INPUT:
        search.run(console, is_quiet=json_file == STANDARD_OUTPUT)
    elif search is not None:
        console.notice("the detector has not looked at the labels: mend the errors first")
    return report.exit_status


def _with_files_of_a_glob(arguments: CheckArguments) -> CheckArguments:
    """Take further words as annotation files: a shell expands a glob into several words."""
    if arguments.spec is not None or not arguments.annotations:
        return arguments
    words = arguments.overrides or []
    files = [word for word in words if "=" not in word]
    keys = [word for word in words if "=" in word]
    return replace(arguments, annotations=[*arguments.annotations, *files], overrides=keys)


def _checked(arguments: CheckArguments, progress: Progress | None) -> CheckReport:
    if arguments.spec is None:
        splits, options = _of_set(arguments)
        return check_dataset(splits, options, on_progress=progress)
    tree, overrides = read_spec_file(arguments.spec), arguments.overrides or ()
    if model_of(tree) is Experiment:
        splits, options = _of_spec(load_tree(Experiment, tree, overrides).spec, arguments.spec)
        return check_dataset(splits, options, on_progress=progress)
    config = load_tree(ConvertConfig, tree, overrides).spec
    given(config.input_source, "input_source")
    options = CheckOptions(
        match_classes=config.match_classes, max_dropped=config.max_dropped, workers=config.workers
    )
    return check_conversion(config, options, on_progress=progress)


def _splits(arguments: CheckArguments) -> Splits:
    """Give the labelled sets of a spec, or the one without."""
    if arguments.spec is None:
        return _of_set(arguments)[0]
    return _of_spec(experiment_of(arguments), arguments.spec)[0]


def _refuse_mixtures(arguments: CheckArguments) -> None:
    """Refuse anything but a spec alone, or images with annotations alone."""
    spec, overrides, json_file = arguments.spec, arguments.overrides, arguments.json_file
    of_spec = CheckArguments(
        spec,
        overrides,
        json_file=json_file,
        with_model=arguments.with_model,
        report=arguments.report,
    )
    has_set = arguments != of_spec
    if spec is not None and has_set:
        raise SpecError(
            "-e names a spec, --images and its companions a set without one; give one of the two"
        )
    if spec is not None:
        return
    if overrides:
        raise SpecError(
            f"{overrides[0]!r} would change a spec, but none is given; add -e SPEC.YAML"
        )
    if not has_set:
        raise SpecError("nothing to check; give -e SPEC.YAML, or --images DIR --annotations FILE")
    if arguments.images is None:
        raise SpecError(
            "--images DIR is missing; give the folder that the labels' file names start at"
        )
    if not arguments.annotations:
        raise SpecError(
            "--annotations FILE is missing; give COCO JSON, or a folder of KITTI labels"
        )


def _of_set(arguments: CheckArguments) -> tuple[Splits, CheckOptions]:
    source = DataSource(
        image_dir=arguments.images or ".", json_file=tuple(arguments.annotations or ())
    )
    mapping = None if arguments.mapping is None else read_mapping(arguments.mapping)
    defaults = Experiment()
    options = CheckOptions(
        num_classes=arguments.num_classes,
        num_queries=arguments.num_queries or defaults.model.num_queries,
        max_detections=defaults.evaluate.max_detections,
        mapping=mapping,
    )
    return {"set": [source]}, options


def _of_spec(experiment: Experiment, spec_file: Path) -> tuple[Splits, CheckOptions]:
    dataset = experiment.dataset
    splits = {
        "train": dataset.train_data_sources,
        "val": dataset.val_data_sources,
        # The same data for validation and for test are one split: as two, every image would be a
        # fault, being in both.
        "test": [it for it in dataset.test_data_sources if it not in dataset.val_data_sources],
    }
    if not any(splits.values()):
        raise SpecError(f"{spec_file} names no labelled data; set dataset.train_data_sources")
    options = CheckOptions(
        num_classes=None if dataset.num_classes == "auto" else dataset.num_classes,
        num_queries=experiment.model.num_queries,
        finest_stride=experiment.model.finest_stride,
        augmentation=dataset.augmentation,
        images_a_step=dataset.batch_size,
        max_detections=experiment.evaluate.max_detections,
        ignore_regions=dataset.ignore_regions,
        match_classes=dataset.match_classes,
        max_dropped=dataset.max_dropped,
        eval_class_ids=dataset.eval_class_ids,
        workers=dataset.workers,
    )
    return splits, options


def _show(report: CheckReport, console: RunConsole) -> None:
    if report.findings:
        columns = ["severity", "fault", "count", "file", "where", "what is done"]
        console.table("findings", columns, report.rows())
    console.say(
        f"{report.images} images, {report.annotations} objects, {len(report.findings)} findings"
    )
