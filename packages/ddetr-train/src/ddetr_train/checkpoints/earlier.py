"""What an earlier training left in a results folder is moved out of the way of the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ddetr_train.checkpoints.checkpoint_io import AtomicCheckpointIO
from ddetr_train.checkpoints.names import BEST_NAME, LATEST_NAME, epoch_files, epoch_of
from ddetr_train.checkpoints.resume import Resume
from ddetr_train.config import VALIDATION_FOLDER

# Weights and scores; whether encrypted ones were renamed or not.
_PLAIN = (LATEST_NAME, BEST_NAME, "model_epoch_*.pth")
_CHECKPOINTS = (*_PLAIN, *(f"{name}.enc" for name in _PLAIN))
_SCORES = f"{VALIDATION_FOLDER}/results.json"
_OTHERS = ("nan_epoch_*.pt", "tensorboard", "mlflow", "wandb")
# While it is filled; the next start goes on with one that a kill has left.
_FILLING = ".earlier"
_NAMES_SHOWN = 4


def left_behind(
    results_dir: Path,
    resume: Resume | None,
    files: AtomicCheckpointIO,
    records: Sequence[str] = (),
) -> list[Path] | None:
    """List what lies in the folder and is no part of the training that begins there.

    All that a training leaves, where this one begins anew or goes on from a checkpoint elsewhere;
    otherwise what came after its checkpoint. None: there is nothing to keep apart, such as weights
    or scores.

    Args:
        results_dir: the folder of the run.
        resume: what the training goes on from.
        files: reads the checkpoints.
        records: names or patterns of others' files about the run that was.
    """
    if resume is not None and resume.path.parent.resolve() == results_dir.resolve():
        return _overtaken(results_dir, resume, files) or None
    results = [*_found(results_dir, _CHECKPOINTS), *_found(results_dir, (_SCORES,))]
    is_interrupted = (results_dir / _FILLING).is_dir()
    if not results and not is_interrupted:
        return None
    return _whole_folders(results_dir, results) + _found(results_dir, (*_OTHERS, *records))


def move_aside(results_dir: Path, paths: Sequence[Path]) -> tuple[Path, Callable[[], None]]:
    """Move files and folders of a results folder into its next `earlier_<n>`.

    A kill in between loses nothing: the rest follows at the next start.

    Returns:
        The folder, and what takes it back.

    Raises:
        OSError: the folder cannot be written.
    """
    filling = results_dir / _FILLING
    filling.mkdir(exist_ok=True)
    for path in paths:
        path.rename(filling / path.name)
    numbers = (each.name.removeprefix("earlier_") for each in results_dir.glob("earlier_*"))
    last = max((int(number) for number in numbers if number.isdecimal()), default=0)
    folder = results_dir / f"earlier_{last + 1}"
    filling.rename(folder)

    def take_back() -> None:
        for path in paths:
            (folder / path.name).rename(path)
        with suppress(OSError):  # it also has what an earlier start had begun to move
            folder.rmdir()

    return folder, take_back


def moved_notice(
    results_dir: Path,
    folder: Path,
    paths: Sequence[Path],
    resume: Resume | None,
    files: AtomicCheckpointIO,
) -> str:
    """Say what was moved, where to and why."""
    names = [path.name for path in paths[:_NAMES_SHOWN]]
    names += [f"{len(paths) - _NAMES_SHOWN} more"] if len(paths) > _NAMES_SHOWN else []
    if resume is None:
        why = (
            f"{results_dir} holds an earlier training but no {LATEST_NAME}, so this one begins anew"
        )
    elif resume.path.parent.resolve() == results_dir.resolve():
        latest = folder / LATEST_NAME
        what = f"what came after it in {results_dir}"
        if latest.is_file():
            what = f"{results_dir / LATEST_NAME} (step {_steps(latest, files)})"
        why = f"{resume.path} (step {resume.steps_done}) wins over {what}"
    else:
        why = f"{results_dir} holds another training than that of {resume.path}"
    return f"{why}: {', '.join(names) or 'its files'} are in {folder} now"


def _overtaken(results_dir: Path, resume: Resume, files: AtomicCheckpointIO) -> list[Path]:
    """List what the checkpoint's own folder has of later updates."""
    later = [
        each for each in epoch_files(results_dir) if (epoch_of(each) or 0) >= resume.epochs_trained
    ]
    for path in (results_dir / BEST_NAME, results_dir / LATEST_NAME):
        if path.is_file() and _steps(path, files) > resume.steps_done:
            later.append(path)
    later = [each for each in later if not each.samefile(resume.path)]
    return later + (_whole_folders(results_dir, _found(results_dir, (_SCORES,))) if later else [])


def _steps(path: Path, files: AtomicCheckpointIO) -> int:
    try:
        return int(files.load_checkpoint(path).get("global_step", 0))
    except ValueError:  # not readable, so nothing is lost with it
        return 0


def _found(results_dir: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(results_dir.glob(pattern))]


def _whole_folders(results_dir: Path, paths: Iterable[Path]) -> list[Path]:
    """Give what lies directly in the folder, such as the folder of a file below."""
    return [results_dir / path.relative_to(results_dir).parts[0] for path in paths]
