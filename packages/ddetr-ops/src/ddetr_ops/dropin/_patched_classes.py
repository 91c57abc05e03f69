"""Subclasses of other projects' layers that compute the attention here and differ in nothing else.

A layer that is given such a class keeps its parameters, hooks, mode and isinstance; its own methods
stay, but for the names of the functions that they call.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ddetr_ops.dropin._recognised import is_ours, replacement_of, samples_as_in_transformers
from ddetr_ops.dropin.transformers import MultiScaleDeformableAttention

_PREFIX = "_ddetr_ops_"  # of our functions' names in the modules of those that call them
_ENDS = ("torch", "builtins")
_made: dict[type[nn.Module], type[nn.Module]] = {}


class PatchedLayer:
    """Marks a layer whose class was made here; it is pickled and copied as what it was made of."""

    made_of: type[nn.Module]

    def __init_subclass__(cls) -> None:
        """Tell no base: a project's registry need not know of it, and may ask for more."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Make the class again where the layer is read."""
        reduced: Any = super().__reduce_ex__(max(protocol, 2))
        return _empty_layer, (self.made_of,), *reduced[2:]


class _ChangedBase:
    """Marks a base of such a class that is changed too."""

    def __init_subclass__(cls) -> None:
        """As above."""


def patched_class(layer_class: type[nn.Module]) -> type[nn.Module] | None:
    """A subclass that computes the attention here; None where the class calls nothing known."""
    found = _made.get(layer_class) or _make(layer_class)
    # One for good, whichever thread was first: it is a type that others may compare.
    return found and _made.setdefault(layer_class, found)


def calls_ours(layer_class: type[nn.Module]) -> bool:
    """Whether a class as it is calls this package's functions, by names of other projects."""
    members = [member for _, _, member in _members(layer_class)]
    called = (
        value
        for member in members
        for function in _functions(member)
        for _, value in _known_globals(function)
    )
    return any(map(is_ours, (*map(_inner, members), *called)))


def _make(layer_class: type[nn.Module]) -> type[nn.Module] | None:
    if samples_as_in_transformers(layer_class):
        return _subclass(layer_class, (), {"forward": MultiScaleDeformableAttention.forward})
    changed: dict[type, dict[str, Any]] = {}
    for base, name, member in _members(layer_class):
        instead = _changed_member(member)
        if instead is not None:
            changed.setdefault(base, {})[name] = instead
    own = changed.pop(layer_class, {})
    # What a base's method calls is changed too where it is reached through super().
    inherited = tuple(
        types.new_class(
            base.__name__, (_ChangedBase, base), exec_body=functools.partial(_fill, new)
        )
        for base, new in changed.items()
    )
    return _subclass(layer_class, inherited, own) if own or inherited else None


def _empty_layer(layer_class: type[nn.Module]) -> nn.Module:
    found = patched_class(layer_class) or layer_class
    return found.__new__(found)


def _subclass(
    layer_class: type[nn.Module], inherited: tuple[type, ...], members: Mapping[str, Any]
) -> type[nn.Module]:
    """Make the class; it bears the name that those who look for a class by its name know."""
    names = ("__module__", "__qualname__", "__doc__")
    kept = {name: getattr(layer_class, name) for name in names}
    fill = functools.partial(_fill, {**members, **kept, "made_of": layer_class})
    bases = (PatchedLayer, layer_class, *inherited)
    return types.new_class(layer_class.__name__, bases, exec_body=fill)


def _fill(members: Mapping[str, Any], namespace: dict[str, Any]) -> None:
    namespace.update(members)


def _members(layer_class: type[nn.Module]) -> Iterator[tuple[type, str, Any]]:
    """Yield base, name and method where a call may arrive, PyTorch's own bases aside.

    A method that another one overrides is reached if that one asks for super(). What __init__ does
    is done.
    """
    bases = [base for base in layer_class.__mro__ if base.__module__.partition(".")[0] not in _ENDS]
    for index, base in enumerate(bases):
        for name, member in vars(base).items():
            above = [vars(other)[name] for other in bases[:index] if name in vars(other)]
            reached = all(any(map(_asks_super, _functions(other))) for other in above)
            if reached and name != "__init__":
                yield base, name, member


def _asks_super(function: types.FunctionType) -> bool:
    return any("super" in code.co_names for code in _with_inner_code(function.__code__))


def _functions(member: Any) -> Iterator[types.FunctionType]:
    """Yield a method, and what it decorates."""
    waiting, seen = [_inner(member)], set()
    while waiting:
        function = waiting.pop()
        if isinstance(function, types.FunctionType) and function not in seen:
            seen.add(function)
            yield function
            waiting.extend(_cell_contents(function))


def _changed_member(member: Any) -> Any:
    """A method that calls ours, or ours for a function that a class holds; else None."""
    function = _inner(member)
    changed = replacement_of(function)
    if changed is None and isinstance(function, types.FunctionType):
        changed = _changed(function)
    wrapped = isinstance(member, (staticmethod, classmethod))
    return type(member)(changed) if wrapped and changed is not None else changed


def _inner(member: Any) -> Any:
    return member.__func__ if isinstance(member, (staticmethod, classmethod)) else member


def _cell_contents(function: types.FunctionType) -> list[Any]:
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:  # empty
            contents.append(None)
    return contents


def _changed(
    function: types.FunctionType, around: tuple[types.FunctionType, ...] = ()
) -> types.FunctionType | None:
    """The function, and those that it decorates, calling ours; None if it calls nothing known."""
    renamed = {}
    for name, value in _known_globals(function):
        ours = replacement_of(value)
        if ours is not None:
            # Beside theirs, where the function looks its names up and compilers look for it.
            renamed[name] = f"{_PREFIX}{name}"
            function.__globals__[renamed[name]] = ours
    cells = list(function.__closure__ or ())
    decorated = {}
    for index, inner in enumerate(_cell_contents(function)):
        if isinstance(inner, types.FunctionType) and inner not in (function, *around):
            changed = _changed(inner, (function, *around))
            if changed is not None:
                cells[index] = types.CellType(changed)
                decorated[inner] = changed
    if not renamed and not decorated:
        return None
    made = types.FunctionType(
        _with_names(function.__code__, renamed),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells),
    )
    functools.update_wrapper(made, function)
    made.__kwdefaults__ = function.__kwdefaults__
    attributes = vars(function)
    if "__wrapped__" in attributes:  # a decorator's
        wrapped = attributes["__wrapped__"]
        vars(made)["__wrapped__"] = decorated.get(wrapped, wrapped)
    else:
        del vars(made)["__wrapped__"]
    return made


def _with_names(code: types.CodeType, renamed: Mapping[str, str]) -> types.CodeType:
    """The code with other names of globals, in the functions inside of it too."""
    return code.replace(
        co_names=tuple(renamed.get(name, name) for name in code.co_names),
        co_consts=tuple(
            _with_names(constant, renamed) if isinstance(constant, types.CodeType) else constant
            for constant in code.co_consts
        ),
    )


def _known_globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function takes from its module and is known, theirs or ours."""
    codes = list(_with_inner_code(function.__code__))
    for name in {name for code in codes for name in code.co_names}:
        value = function.__globals__.get(name)
        known = is_ours(value) or replacement_of(value) is not None
        # An attribute of the same name would be renamed too.
        if known and all(_is_only_global(name, code) for code in codes):
            yield name, value


def _is_only_global(name: str, code: types.CodeType) -> bool:
    return all(
        instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        for instruction in dis.get_instructions(code)
        if instruction.opcode in dis.hasname and instruction.argval == name
    )


def _with_inner_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_inner_code(constant)
