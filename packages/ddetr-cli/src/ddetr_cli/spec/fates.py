"""What becomes of each key of a spec that was written for another program."""

from __future__ import annotations

from pydantic import BaseModel

from ddetr_cli.spec.experiment import Experiment
from ddetr_cli.spec.schema import DERIVED_KEYS, arms_at, known_keys, nearest_key
from ddetr_cli.spec.tao_specs import reason_without_effect, renamed_for
from ddetr_cli.spec.tree import KeyPath, dotted

_WITHOUT_EFFECT = "Accepted"  # how the description of such a key begins


def fate_of(path: KeyPath, model: type[BaseModel]) -> str:
    """Say of a key: kept, renamed, without effect, or unknown, with why and what to write."""
    known = dict(known_keys(model))
    new = renamed_for(None, is_flat=model is not Experiment).get(path)
    if new is not None:
        return f"renamed: {dotted(new)}; the old name is read too"
    reason = reason_without_effect(path) if model is Experiment else None
    if reason is not None:
        return f"without effect: {reason}"
    if path in DERIVED_KEYS or not arms_at(model, path):
        nearest = nearest_key(model, path)
        return "unknown" + (f"; perhaps {nearest}" if nearest else "")
    field = known.get(path)  # none for a name in a dict, or a key of a list's one bare entry
    description = (field and field.description) or ""
    is_kept = not description.startswith(_WITHOUT_EFFECT)
    return "kept" if is_kept else f"without effect: {description}"
