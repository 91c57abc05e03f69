"""What ddetr_export.tensorrt takes of TensorRT, read from its source, and whether it is there.

A description is what `proofs.tensorrt_bindings` reads from a version's bindings: parameters of each
function and method (one list an overload, "=" behind an optional one), properties, enum members.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofs.record import ROOT

__all__ = ["Use", "every_use", "missing_of", "names_in_adapter", "trimmed"]

_FOLDER = ROOT / "packages/ddetr-export/src/ddetr_export/tensorrt"
ADAPTER = [_FOLDER / name for name in ("builder.py", "network.py", "engine.py", "bindings.py")]

MODULE = "the module"
# What is handed to a function or kept on an object without a type that says so.
_GIVEN = {
    **dict.fromkeys(("trt", "self.trt", "self._trt"), MODULE),
    "self._builder": "Builder",
    "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext",
    "network": "INetworkDefinition",
    "settings": "IBuilderConfig",
    "engine": "ICudaEngine",
    "cache": "ITimingCache",
}
# Where the adapter looks at the version, or the format that it goes with, before it goes there.
_FLAGS_END, _TYPES_BEGIN = 11, 10


@dataclass(frozen=True)
class Use:
    """One attribute that the adapter takes, and how it is called if it is."""

    where: str  # file and line
    function: str
    owner: str  # a class, an enum or the module
    name: str
    positional: int | None  # arguments of a call; None: it is none, or they are not known
    keywords: tuple[str, ...] = ()

    def is_reached(self, major: int) -> bool:
        """Whether a version comes to this line."""
        if self.function == "_set_precision":
            return major < _FLAGS_END
        if self.name == "EXPLICIT_BATCH":
            return major < _TYPES_BEGIN
        return self.name != "STRONGLY_TYPED" or major >= _TYPES_BEGIN


def names_in_adapter() -> set[str]:
    """Every attribute and every word in quotes of the adapter, whatever it is of."""
    found = set()
    for path in ADAPTER:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found | {"FP16", "BF16", "INT8"}  # values of data_type, by which a flag is taken


def uses_of(description: Mapping[str, Any]) -> list[Use]:
    """Find what the adapter takes of objects of TensorRT's; a description says what calls give."""
    found: list[Use] = []
    for path in ADAPTER:
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                reader = _Reader(path.name, node.name, description)
                for statement in node.body:
                    reader.visit(statement)
                found += reader.uses
    return found


def missing_of(use: Use, description: Mapping[str, Any]) -> str:
    """Say what a version lacks of a use; nothing where all is there."""
    if use.owner in description["enums"]:
        lacking = use.name not in description["enums"][use.owner]
        return f"{use.owner} has no member {use.name}" if lacking else ""
    owner = description if use.owner == MODULE else description["classes"].get(use.owner)
    if owner is None:
        return f"there is no class {use.owner}"
    kinds = ("functions", "classes", "enums") if use.owner == MODULE else ("methods", "properties")
    entry = next((owner[kind][use.name] for kind in kinds if use.name in owner[kind]), None)
    if entry is None:
        return f"{use.owner} has no {use.name}"
    if use.positional is None:
        return ""
    if use.owner == MODULE and use.name in description["classes"]:
        entry = entry["methods"].get("__init__")
    overloads = entry["overloads"] if isinstance(entry, Mapping) else []
    if any(_takes(each, use.positional, use.keywords) for each in overloads):
        return ""
    return f"{use.owner}.{use.name} takes {overloads}, not {use.positional} and {use.keywords}"


def _takes(parameters: Sequence[str], positional: int, keywords: Sequence[str]) -> bool:
    names = [each.rstrip("=") for each in parameters]
    rest = parameters[positional:]
    return (
        positional <= len(parameters)
        and set(keywords) <= set(names[positional:])
        and all(each.endswith("=") or each in keywords for each in rest)
    )


class _Reader(ast.NodeVisitor):
    """Follows objects of TensorRT's through the assignments of one function."""

    def __init__(self, file: str, function: str, description: Mapping[str, Any]) -> None:
        self.uses: list[Use] = []
        self._where = (file, function)
        self._description = description
        self._types = dict(_GIVEN)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        self._bind(node.targets[0], self._type_of(node.value))

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target, self._type_of(node.iter).removeprefix("list of "))
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        for each in node.generators:
            self._bind(each.target, self._type_of(each.iter).removeprefix("list of "))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            is_known = not any(isinstance(each, ast.Starred) for each in node.args)
            keywords = tuple(str(each.arg) for each in node.keywords)
            self._note(node.func, len(node.args) if is_known else None, keywords)
            self.visit(node.func.value)
            for each in (*node.args, *(keyword.value for keyword in node.keywords)):
                self.visit(each)
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._note(node, None, ())
        self.visit(node.value)

    def _note(self, node: ast.Attribute, positional: int | None, keywords: tuple[str, ...]) -> None:
        owner = self._type_of(node.value)
        if owner and not owner.startswith("list of ") and not node.attr.startswith("__"):
            file, function = self._where
            where = f"{file}:{node.lineno}"
            self.uses.append(Use(where, function, owner, node.attr, positional, keywords))

    def _bind(self, target: ast.expr, kind: str) -> None:
        name = ast.unparse(target)
        if kind or name not in _GIVEN:
            self._types[name] = kind

    def _type_of(self, node: ast.expr) -> str:
        """Name the class, the enum or the module; "" where it is none of TensorRT's."""
        if known := self._types.get(ast.unparse(node)):
            return known
        if isinstance(node, ast.BoolOp):
            return next(filter(None, map(self._type_of, node.values)), "")
        if isinstance(node, ast.Attribute):
            named = self._type_of(node.value) == MODULE
            return node.attr if named and self._is_type(node.attr) else ""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = self._type_of(node.func.value)
            if owner == MODULE:
                return node.func.attr if node.func.attr in self._description["classes"] else ""
            methods = self._description["classes"].get(owner, {}).get("methods", {})
            return str(methods.get(node.func.attr, {}).get("returns", ""))
        if isinstance(node, ast.ListComp):
            for each in node.generators:
                self._bind(each.target, self._type_of(each.iter).removeprefix("list of "))
            inner = self._type_of(node.elt)
            return f"list of {inner}" if inner else ""
        if isinstance(node, ast.Subscript):
            whole = self._type_of(node.value)
            return whole.removeprefix("list of ") if whole.startswith("list of ") else ""
        return ""

    def _is_type(self, name: str) -> bool:
        return name in self._description["classes"] or name in self._description["enums"]


def trimmed(description: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the adapter does not take, in any version."""
    taken = {(use.owner, use.name) for use in uses_of(description)}
    classes = {
        owner: {
            kind: {
                name: entry
                for name, entry in entries.items()
                if name == "__init__" or (owner, name) in taken
            }
            for kind, entries in kinds.items()
        }
        for owner, kinds in description["classes"].items()
    }
    return {**description, "classes": classes}


def every_use(description: Mapping[str, Any], version: str) -> Iterator[Use]:
    """Yield the uses that a version comes to."""
    major = int(version.split(".")[0])
    yield from (use for use in uses_of(description) if use.is_reached(major))
