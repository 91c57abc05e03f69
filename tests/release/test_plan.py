"""What a release and a train of them change: versions, siblings' ranges, changelogs."""

from __future__ import annotations

import re
from typing import Any

import pytest

# A checkout is what tests/release/conftest.py gives: four packages, released as 0.1.0.
Checkout = Any

USES_IT = "from ddetr_ops import attend, patch\n\n__all__ = []\n"
HAS_IT = '__all__ = ["attend", "patch"]\n'


def give_and_use(checkout: Checkout, used: str = USES_IT) -> None:
    """Let the operator have a new name, with a line in its changelog, and the model use it."""
    checkout.write("ddetr-ops/src/ddetr_ops/__init__.py", HAS_IT)
    checkout.write("ddetr-ops/changelog.d/patch.added.md", "`patch` changes a model.")
    checkout.write("ddetr-model/src/ddetr_model/__init__.py", used)
    checkout.write("ddetr-model/changelog.d/patch.added.md", "Layers of others are patched.")


def test_the_first_train_releases_all_in_order(unreleased: Checkout) -> None:
    """Whoever is required comes first; one commit has a tag of each package."""
    shown = unreleased.released("train")
    order = re.findall(r"(?m)^(ddetr-\w+) +0\.1\.0 -> 0\.1\.0  never released", shown)
    assert order == ["ddetr-ops", "ddetr-data", "ddetr-model", "ddetr-train"]
    assert set(unreleased.git("tag", "--points-at", "HEAD").split()) == {
        f"{name}-v0.1.0" for name in order
    }
    assert unreleased.git("rev-list", "--count", "HEAD") == "2"
    assert "- unreleased" not in (unreleased.root / "packages/ddetr-ops/CHANGELOG.md").read_text()
    pushed = re.findall(r"git push origin (ddetr-\S+)", shown)
    assert pushed == [f"{name}-v0.1.0" for name in order]


def test_a_plan_changes_nothing(checkout: Checkout) -> None:
    """It is shown alike by plan, and by train and a release with --dry-run."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "The operator is faster.")
    before = checkout.state()
    shown = checkout.released("plan")
    assert shown == checkout.released("train", "--dry-run")
    assert "ddetr-ops     0.1.0 -> 0.2.0  1 file changed since ddetr-ops-v0.1.0" in shown
    assert "ddetr-model requires ddetr-ops>=0.1,<0.3, not >=0.1,<0.2" in shown
    assert "ddetr-model   0.1.0 -> 0.1.1  takes ddetr-ops>=0.1,<0.3" in shown
    assert "ddetr-train   0.1.0 stays: nothing has changed" in shown
    assert "-> 0.2.0  asked for" in checkout.released("ddetr-ops", "0.2.0", "--dry-run")
    assert checkout.state() == before


def test_a_train_releases_what_has_changed(checkout: Checkout) -> None:
    """By the changelog's types; who requires a version that may break goes along with its range."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "The operator is faster.")
    checkout.write("ddetr-data/changelog.d/png.fixed.md", "PNG files are read.")
    checkout.released("train")
    versions = {"ddetr-ops": "0.2.0", "ddetr-data": "0.1.1", "ddetr-model": "0.1.1"}
    assert {name: checkout.version(name) for name in versions} == versions
    assert checkout.version("ddetr-train") == "0.1.0"
    tags = {f"{name}-v{version}" for name, version in versions.items()}
    assert set(checkout.git("tag", "--points-at", "HEAD").split()) == tags
    told = (checkout.root / "packages/ddetr-model/CHANGELOG.md").read_text()
    assert "- Requires `ddetr-ops>=0.1,<0.3`." in told
    assert '"ddetr-ops>=0.1,<0.3"' in checkout.manifest("ddetr-model")
    assert checkout.released("plan").count("nothing has changed") == 4
    assert "there is nothing to release" in checkout.run("train").stderr


def test_one_release_moves_the_ranges_of_others(checkout: Checkout) -> None:
    """The workspace fits together after it; whoever moved is released later, and says so."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "The operator is faster.")
    checkout.released("ddetr-ops", "0.2.0")
    assert '"ddetr-ops>=0.1,<0.3"' in checkout.manifest("ddetr-model")
    assert checkout.version("ddetr-model") == "0.1.0"
    assert checkout.git("tag", "--points-at", "HEAD") == "ddetr-ops-v0.2.0"
    fragment = checkout.root / "packages/ddetr-model/changelog.d/requires-ddetr-ops.added.md"
    assert fragment.read_text() == "Requires `ddetr-ops>=0.1,<0.3`.\n"
    checkout.released("train")
    assert checkout.version("ddetr-model") == "0.1.1"
    assert not fragment.exists()


def test_extras_of_a_sibling_keep_their_names(checkout: Checkout) -> None:
    """Only the range behind them moves."""
    checkout.write("ddetr-data/changelog.d/rules.removed.md", "A rule is gone.")
    checkout.released("ddetr-data", "0.2.0")
    assert '"ddetr-data[crypto,torch]>=0.1,<0.3"' in checkout.manifest("ddetr-train")


@pytest.mark.parametrize(
    "used",
    [
        USES_IT,
        "import ddetr_ops\n\nddetr_ops.patch(1)\n",
        "import ddetr_ops as ops\n\n\ndef late():\n    return ops.patch\n",
        "from ddetr_ops import patch as mend\n",
        "if TYPE_CHECKING:\n    from ddetr_ops import patch\n",
    ],
)
def test_a_floor_moves_with_a_name_that_crosses(checkout: Checkout, used: str) -> None:
    """A sibling that uses a new name requires the version that brings it."""
    give_and_use(checkout, used)
    assert "for ddetr_ops.patch" in checkout.released("ddetr-ops", "0.1.1")
    assert '"ddetr-ops>=0.1.1,<0.2"' in checkout.manifest("ddetr-model")


def test_a_wing_that_is_new_moves_the_floor(checkout: Checkout) -> None:
    """So does a name of it, and the wing as a module."""
    checkout.write("ddetr-ops/src/ddetr_ops/dropin/__init__.py", '__all__ = ["Layer"]\n')
    checkout.write("ddetr-ops/changelog.d/dropin.added.md", "A wing.")
    checkout.write("ddetr-model/src/ddetr_model/layers.py", "from ddetr_ops import dropin\n")
    checkout.released("ddetr-ops", "0.1.1")
    assert '"ddetr-ops>=0.1.1,<0.2"' in checkout.manifest("ddetr-model")


@pytest.mark.parametrize(
    ("path", "used"),
    [
        ("late.py", 'importlib.import_module("ddetr_ops.dropin")\n'),
        ("late.py", "import ddetr_ops.dropin as wing\n"),
        ("late.pyi", "from ddetr_ops.dropin import Layer as Layer\n"),
    ],
)
def test_a_late_import_and_a_stub_move_the_floor(checkout: Checkout, path: str, used: str) -> None:
    """So does a wing that is only named as text, or only for type checkers."""
    checkout.write("ddetr-ops/src/ddetr_ops/dropin/__init__.py", '__all__ = ["Layer"]\n')
    checkout.write("ddetr-ops/changelog.d/dropin.added.md", "A wing.")
    checkout.write(f"ddetr-model/src/ddetr_model/{path}", used)
    assert "requires ddetr-ops>=0.1.1,<0.2" in checkout.released("ddetr-ops", "0.1.1", "--dry-run")


def test_the_version_of_a_sibling_is_always_there(checkout: Checkout) -> None:
    """What every module has needs no __all__, and moves no floor."""
    checkout.write("ddetr-model/src/ddetr_model/late.py", "from ddetr_ops import __version__\n")
    assert checkout.released("floors") == ""


def test_a_floor_may_be_raised_by_hand(checkout: Checkout) -> None:
    """--raise-floors requires what is released together."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "Attention is summed otherwise.")
    checkout.released("train", "--raise-floors")
    assert '"ddetr-ops>=0.2,<0.3"' in checkout.manifest("ddetr-model")


def test_who_uses_a_name_is_released_after_it(checkout: Checkout) -> None:
    """The user alone is refused; the check of floors names it, and the train does both."""
    give_and_use(checkout)
    sentence = "ddetr-model uses ddetr_ops.patch, which ddetr-ops 0.1.0 (its floor) lacks"
    done = checkout.run("ddetr-model", "0.1.1")
    assert (done.returncode, done.stderr) == (
        2,
        f"release: {sentence}: release ddetr-ops first\n",
    )
    told = checkout.released("floors")
    assert sentence in told
    assert "packages/ddetr-model/src/ddetr_model/__init__.py:1" in told
    assert "the next release of ddetr-ops moves the floor" in told
    checkout.released("train")
    assert checkout.released("floors") == ""
    assert checkout.released("floors", "ddetr-model-v0.1.1") == ""


def test_a_name_that_no_release_would_bring_fails_the_check(checkout: Checkout) -> None:
    """The sibling's changelog has no line, so that it would not be released."""
    checkout.write("ddetr-data/src/ddetr_data/__init__.py", '__all__ = ["load", "save"]\n')
    checkout.write("ddetr-train/src/ddetr_train/__init__.py", "from ddetr_data import load, save\n")
    done = checkout.run("floors")
    assert done.returncode == 1
    assert (
        "ddetr-train uses ddetr_data.save, which ddetr-data 0.1.0 (its floor) lacks" in done.stderr
    )
    assert "give ddetr-data a line in its changelog" in done.stderr
    assert "and its changelog says nothing" in checkout.released("plan")


def test_a_name_that_is_out_already_moves_the_floor_of_its_user(checkout: Checkout) -> None:
    """The lowest version that has it is required."""
    checkout.write("ddetr-ops/src/ddetr_ops/__init__.py", HAS_IT)
    checkout.write("ddetr-ops/changelog.d/patch.added.md", "`patch` changes a model.")
    checkout.released("ddetr-ops", "0.1.1")
    checkout.write("ddetr-ops/changelog.d/zero.fixed.md", "Zero is zero.")
    checkout.released("ddetr-ops", "0.1.2")
    checkout.write("ddetr-model/src/ddetr_model/__init__.py", USES_IT)
    checkout.write("ddetr-model/changelog.d/patch.added.md", "Layers of others are patched.")
    checkout.released("ddetr-model", "0.1.1")
    assert '"ddetr-ops>=0.1.1,<0.2"' in checkout.manifest("ddetr-model")


def test_a_prerelease_leaves_the_changelog_to_its_release(checkout: Checkout) -> None:
    """Ranges take it, its notes are made of the fragments, and the release uses them up."""
    checkout.write("ddetr-ops/changelog.d/faster.changed.md", "The operator is faster.")
    checkout.released("ddetr-ops", "0.2.0a1")
    assert checkout.version("ddetr-ops") == "0.2.0a1"
    assert '"ddetr-ops>=0.1,<0.3"' in checkout.manifest("ddetr-model")
    assert checkout.released("check", "ddetr-ops-v0.2.0a1") == ""
    notes = checkout.released("notes", "ddetr-ops-v0.2.0a1")
    assert notes == "### Changed\n\n- The operator is faster.\n"
    assert "beyond 0.1.9" in checkout.run("ddetr-ops", "0.1.9").stderr
    assert "only ddetr-ops-v0.2.0a1 is out" in checkout.released("plan")
    checkout.released("ddetr-ops", "0.2.0")
    assert checkout.released("notes", "ddetr-ops-v0.2.0") == notes


def test_a_train_of_prereleases(checkout: Checkout) -> None:
    """A floor that names a pre-release is refused in a release, and moves with it."""
    give_and_use(checkout)
    checkout.released("train", "--pre", "rc")
    assert checkout.version("ddetr-ops") == "0.1.1rc1"
    assert checkout.version("ddetr-model") == "0.1.1rc1"
    assert '"ddetr-ops>=0.1.1rc1,<0.2"' in checkout.manifest("ddetr-model")
    done = checkout.run("ddetr-model", "0.1.1")
    assert done.returncode == 2
    assert "from a pre-release on: release ddetr-ops first" in done.stderr
    checkout.released("train")
    assert checkout.version("ddetr-model") == "0.1.1"
    assert '"ddetr-ops>=0.1.1,<0.2"' in checkout.manifest("ddetr-model")


def test_a_prerelease_before_the_first_release(unreleased: Checkout) -> None:
    """The entry stays unreleased, and siblings take the pre-release until the release is out."""
    unreleased.released("train", "--pre", "a")
    assert unreleased.version("ddetr-ops") == "0.1.0a1"
    assert '"ddetr-ops>=0.1.0a1,<0.2"' in unreleased.manifest("ddetr-model")
    assert "The first version." in unreleased.released("notes", "ddetr-ops-v0.1.0a1")
    assert "there is nothing to release" in unreleased.run("train", "--pre", "a").stderr
    unreleased.released("train")
    assert unreleased.version("ddetr-ops") == "0.1.0"
    assert '"ddetr-ops>=0.1,<0.2"' in unreleased.manifest("ddetr-model")


def test_a_post_release_moves_no_range(checkout: Checkout) -> None:
    """It mends a file of the index, and every range takes it."""
    checkout.write("ddetr-ops/changelog.d/file.fixed.md", "The wheel has its licence.")
    checkout.released("ddetr-ops", "0.1.0.post1")
    assert checkout.version("ddetr-ops") == "0.1.0.post1"
    assert '"ddetr-ops>=0.1,<0.2"' in checkout.manifest("ddetr-model")


def test_a_version_may_be_chosen_for_a_train(checkout: Checkout) -> None:
    """Larger than the changelog asks for, and no smaller than what may follow."""
    checkout.write("ddetr-ops/changelog.d/zero.fixed.md", "Zero is zero.")
    checkout.released("train", "ddetr-ops=1.0.0")
    assert checkout.version("ddetr-ops") == "1.0.0"
    assert '"ddetr-ops>=0.1,<2.0"' in checkout.manifest("ddetr-model")
    assert "give PACKAGE=VERSION, not ddetr-ops" in checkout.run("plan", "ddetr-ops").stderr
