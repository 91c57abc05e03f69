"""`ddetr init DIR`: looks at a folder of labelled images, says what is there, writes a spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddetr_cli.commands.arguments import InitArguments
from ddetr_cli.layouts import (
    SPLITS,
    FoundSet,
    LayoutError,
    Objects,
    Source,
    Weights,
    converted,
    find_layout,
    measure_objects,
    spec_text,
    split_coco,
)
from ddetr_cli.passphrase import key_of_environment
from ddetr_cli.running import EXIT_SUCCESS
from ddetr_cli.spec import Experiment, local_path
from ddetr_cli.terminal import RunConsole
from ddetr_data import DataError
from ddetr_data.detection import Progress
from ddetr_data.files import write_whole

_MOST_TOLD = 20
_MOST_CLASSES = 30
# The number of classes is the data's, and bounds that of detections; the weights of the backbone
# are in the detector's.
_NOT_OF_THE_MODEL = {"num_classes", "num_select", "pretrained_backbone_path"}


def main(arguments: InitArguments, console: RunConsole) -> int:
    """Show what was found, and write a spec that trains; the folder stays as it is.

    Raises:
        LayoutError: nothing known is there, the spec exists, or labels must be converted first.
        FileNotFoundError, ValueError: the weights are missing, or are no detector's.
    """
    root, spec_file = arguments.folder, arguments.output
    labels_dir = spec_file.parent / f"{spec_file.stem}_labels"
    if spec_file.exists() and not arguments.overwrite:
        raise LayoutError(f"{spec_file} exists; give --overwrite, or -o with another name")
    weights = None
    if arguments.weights is not None:
        weights = Weights(arguments.weights, _architecture(arguments.weights))
    found = find_layout(root, Progress([console.observe], "files"))
    console.close()
    _show(found, root, console)
    sources = _sources(found, labels_dir, arguments, console)
    objects = _objects(sources, console)
    write_whole(spec_file, spec_text(found, sources, root, weights=weights, objects=objects))
    console.say(f"spec: {spec_file}")
    console.say(f"next: ddetr check -e {spec_file}, then ddetr train -e {spec_file}")
    return EXIT_SUCCESS


def _architecture(weights: Path) -> dict[str, Any]:
    """Give what a detector is built as, where a spec says otherwise by default."""
    from ddetr_data.files import model_source
    from ddetr_model import import_checkpoint

    local_path(weights, "--weights")
    with model_source(weights, key_of_environment()) as source:
        config = import_checkpoint(source, allow_partial=True)[0].config
    fields: dict[str, Any] = config.model_dump(mode="json", exclude=_NOT_OF_THE_MODEL)
    usual = Experiment().model.architecture().model_dump(mode="json")
    return {name: value for name, value in fields.items() if value != usual[name]}


def _objects(sources: Sequence[Source], console: RunConsole) -> Objects | None:
    """Measure what is trained on; faulty labels are for `ddetr check` to tell of."""
    try:
        measured = measure_objects([each for each in sources if each.split == "train"])
        why = "the labels have none"
    except (DataError, OSError) as error:
        measured, why = None, str(error)
    if measured is None:
        console.notice(f"the sizes in the spec do not follow the objects: {why}")
    return measured


def _sources(
    found: FoundSet, labels_dir: Path, arguments: InitArguments, console: RunConsole
) -> list[Source]:
    """Give what the spec names: the JSON that is there, or that was asked for."""
    is_coco, has_val = found.kind == "COCO", "val" in found.splits
    if not arguments.convert and not is_coco:
        raise LayoutError(
            f"training reads COCO JSON, and these labels are {found.kind}'s: give --convert, which "
            f"writes COCO JSON of them to {labels_dir} and leaves {arguments.folder} as it is"
        )
    if arguments.convert and not (is_coco and has_val):
        _refuse_other_labels(labels_dir, overwrite=arguments.overwrite)
    sources = [
        Source(part.split, part.image_dir, part.json_file) for part in found.parts if part.json_file
    ]
    if not is_coco:
        sources = converted(found, labels_dir, Progress([console.observe], "images"))
        console.say(f"COCO JSON of the labels: {labels_dir}")
    if not has_val and arguments.convert:
        sources = split_coco(sources, labels_dir)
        console.say(
            "validation split: a tenth of the images, chosen by a hash of their names as convert's "
            f"val_split does: {labels_dir}"
        )
    elif not has_val:
        console.notice(
            "there is no validation split, and training without one keeps no best checkpoint: "
            f"--convert makes one of a tenth of the images, in {labels_dir}"
        )
    return sources


def _refuse_other_labels(folder: Path, *, overwrite: bool) -> None:
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise LayoutError(f"{folder} exists; give --overwrite, or -o with another name")


def _show(found: FoundSet, root: Path, console: RunConsole) -> None:
    rows = [
        (part.split, str(part.images), str(part.labelled), str(part.json_file or part.image_dir))
        for split in SPLITS
        for part in found.parts
        if part.split == split
    ]
    console.table(f"{found.kind} labels in {root}", ["split", "images", "labelled", "where"], rows)
    if found.split_lists:
        counts = {split: list(found.split_lists.values()).count(split) for split in SPLITS}
        listed = ", ".join(f"{split} {count}" for split, count in counts.items() if count)
        console.say(f"splits, by ImageSets: {listed}")
    names = found.class_names
    told = ", ".join(names[:_MOST_CLASSES]) + (", ..." if len(names) > _MOST_CLASSES else "")
    console.say(f"{len(names)} classes: {told}" if names else "class names: none are given")
    if found.not_understood:
        odd = [(str(path), why) for path, why in found.not_understood[:_MOST_TOLD]]
        console.table("not taken", ["where", "why"], odd)
        rest = len(found.not_understood) - len(odd)
        if rest:
            console.say(f"and {rest} more that were not taken")
