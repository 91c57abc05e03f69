"""The rules of `layers_precision`: layers, by name, whose number format is not the model's.

A rule is written as "norm*:fp32".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_FORMATS = {"fp32": "fp32", "float": "fp32", "fp16": "fp16", "half": "fp16", "int8": "int8"}


@dataclass(frozen=True)
class LayerRule:
    """Layers whose name matches compute in that format."""

    pattern: str  # a name; * stands for any text
    format: str  # fp32, fp16 or int8

    def indices(self, names: Sequence[str]) -> list[int]:
        """Give the indices of the names that the rule's pattern matches.

        Raises:
            ValueError: it matches none.
        """
        found = [index for index, name in enumerate(names) if fnmatchcase(name, self.pattern)]
        if not found:
            raise ValueError(
                f"layers_precision {f'{self.pattern}:{self.format}'!r} names no layer of the "
                "network; layers bear the names of the ONNX file's nodes"
            )
        return found


def layer_rules(texts: Iterable[str]) -> tuple[LayerRule, ...]:
    """Read rules written as "pattern:format".

    Raises:
        ValueError: a text is no such rule.
    """
    rules = []
    for text in texts:
        pattern, _, name = text.rpartition(":")
        if not pattern or name.lower() not in _FORMATS:
            raise ValueError(f"layers_precision must hold 'layer:fp32|fp16|int8', got {text!r}")
        rules.append(LayerRule(pattern, _FORMATS[name.lower()]))
    return tuple(rules)
