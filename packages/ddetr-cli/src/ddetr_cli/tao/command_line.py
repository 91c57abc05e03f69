"""A command line of TAO's as one of ours: its options become `key=value` words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from ddetr_cli.tao.options import NETWORK, OPTIONS, SUBTASKS, TAKING_OPTIONS, Option

_PRODUCT_WORDS = ("model", "deploy")
_DEPLOYED = ("evaluate", "inference")
_FOLDER_KEY, _TEMPLATE_FILE = "results_dir=", "experiment.yaml"  # of `default_specs`
_DEPLOY_FLAG = "--deploy"
_BY_NAME = {name: option for option in OPTIONS for name in option.names}
_KEY_NAMES = tuple(name for option in OPTIONS if option.takes == "key" for name in option.names)
_QUOTED_STARTS = ("[", "{", '"', "'")


class CommandLineError(ValueError):
    """A command line that cannot be read; its text says what to write."""


@dataclass
class Adapted:
    """Our command line: the subtask, `key=value` words of options, and the other words."""

    words: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    passphrase: str | None = None  # as it was written: "-" and "@file" are for the reader


def adapted(arguments: Sequence[str]) -> Adapted:
    """Give the command line without product words and TAO's options.

    Options come first, so that a `key=value` wins over them, as it did there.

    Raises:
        CommandLineError: a subtask or an option that is none here, or a value is missing.
    """
    words = without_product_words(list(arguments))
    task = words[0] if words else ""
    other = next((each for each in SUBTASKS if each.name == task), None)
    if other is not None and other.read_as:
        return _template(other.read_as, words[1:])
    if other is not None:
        raise CommandLineError(f"{task} is no subtask here: {other.instead}")
    found = Adapted(words=words[:1])
    if task in _DEPLOYED and list(arguments[:1]) == ["deploy"]:
        found.words.append(_DEPLOY_FLAG)
    rest: list[str] = []
    reader = iter(words[1:])
    for word in reader:
        option, name, value = _option_of(word, task)
        if option is None:
            rest.append(word)
            continue
        if value is None and option.takes != "flag":
            value, after = _value(name, option, reader)
            rest += after
        _take(found, option, name, value, task)
    found.words += rest
    return found


def _template(task: str, words: list[str]) -> Adapted:
    """Read the words of `default_specs`, of which the folder of its file counts."""
    found = Adapted([task])
    reader = iter(words)
    for word in reader:
        option, name, value = _option_of(word, "train")
        key, equals, folder = word.partition("=")
        if option is not None and option.sets.get("train") == _FOLDER_KEY:
            folder, equals = (value, "=") if value else (_value(name, option, reader)[0], "=")
            key = _FOLDER_KEY.rstrip("=")
        if equals and f"{key}=" == _FOLDER_KEY:
            found.words += ["-o", str(PurePath(folder, _TEMPLATE_FILE))]
        elif word.startswith("-"):
            found.words.append(word)
        else:
            found.notices.append(f"{word} has no effect on {task}")
    return found


def without_product_words(arguments: list[str]) -> list[str]:
    """Drop `model deformable_detr` or `deploy deformable_detr` in front of a subtask."""
    if arguments[:1] and arguments[0] in _PRODUCT_WORDS:
        arguments = arguments[1:]
    return arguments[1:] if arguments[:1] == [NETWORK] else arguments


def _option_of(word: str, task: str) -> tuple[Option | None, str, str | None]:
    """Find the option that a word is, its name, and a value that stands in the same word."""
    name, equals, value = word.partition("=")
    if not word.startswith("--"):
        # Of words such as -kKEY the first two signs; -np is a name of two letters.
        name = word if word in _BY_NAME else word[:2]
        equals, value = ("=", word[2:]) if name != word else ("", "")
    option = _BY_NAME.get(name)
    if option is None or (task not in TAKING_OPTIONS and option.takes != "key"):
        return None, name, None
    return option, name, value if equals else None


def _value(name: str, option: Option, reader: Iterator[str]) -> tuple[str, list[str]]:
    """Take the words of an option's value; with it a word that was read too far."""
    value = next(reader, None)
    if value is None or value in _BY_NAME:
        raise CommandLineError(f"{name} needs a value behind it")
    if option.takes != "numbers":
        return value, []
    numbers = [value]
    for word in reader:
        if not word.isdecimal():
            return ",".join(numbers), [word]
        numbers.append(word)
    return ",".join(numbers), []


def _take(found: Adapted, option: Option, name: str, value: str | None, task: str) -> None:
    if option.takes == "key":
        found.passphrase = value
    elif option.takes == "network":
        if value != NETWORK:
            raise CommandLineError(f"{name} {value}: there is one network here, {NETWORK}")
    elif task in option.sets:
        found.words.append(_override(option.sets[task], value))
    elif option.instead:
        raise CommandLineError(f"{name} is no option here: {option.instead}")
    else:
        found.notices.append(f"{name} has no effect on {task}")


def _override(key: str, value: str | None) -> str:
    if value is None:
        return key
    if key.endswith("gpu_ids="):
        return f"{key}[{value}]"
    is_plain = value == value.strip() and not value.startswith(_QUOTED_STARTS)
    return key + (value if is_plain else json.dumps(value))
