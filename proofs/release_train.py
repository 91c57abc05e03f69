"""Releases rehearsed: a scratch clone, a local index, and environments that install from it.

    python -m proofs.release_train [--slice]

All six packages are released and published as what comes next, 0.1.0 at first, then ddetr-ops alone
in a version that may break, then whoever has to follow, then pre-releases. The index is pypiserver
on the loopback; it has the six packages, and their third parties come from where uv takes them, in
the versions of this environment. ddetr-ops is built without its compiled part. The slice makes the
releases and publishes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from proofs.local_index import LocalIndex
from proofs.record import ROOT, MissingToolError, Proof, run_proof

SIX = ("ddetr-ops", "ddetr-data", "ddetr-model", "ddetr-train", "ddetr-export", "ddetr-cli")
SOURCES = ("UV_INDEX", "PYTHONPATH", "VIRTUAL_ENV", "HATCH_ENV_ACTIVE")


def prove(proof: Proof) -> None:
    """Release in a scratch clone; the whole proof publishes and installs too."""
    for tool in ("git",) if proof.is_slice else ("git", "uv"):
        if shutil.which(tool) is None:
            raise MissingToolError(f"{tool} is not on the PATH; `make proof-release` puts it there")
    if not proof.is_slice and find_spec("pypiserver") is None:
        raise MissingToolError("pypiserver is not installed; `make setup` installs it")
    with tempfile.TemporaryDirectory(prefix="ddetr-rehearsal-") as name, ExitStack() as stack:
        rehearsal = Rehearsal(proof, Path(name))
        if not proof.is_slice:
            rehearsal.index = stack.enter_context(LocalIndex(Path(name) / "index"))
        try:
            rehearsal.release_all()
        except StepFailedError as error:
            proof.failed(proof.tried[-1], str(error))


class StepFailedError(Exception):
    """A command failed that had to succeed; the text has both."""


class Rehearsal:
    """A clone to release from, an index to publish to, and environments that take from it."""

    def __init__(self, proof: Proof, folder: Path) -> None:
        self.proof = proof
        self.folder = folder
        self.clone = folder / "clone"
        self.index: LocalIndex | None = None
        self.pins = folder / "third_parties.txt"

    def release_all(self) -> None:
        """Go the whole way, step by step."""
        self.make_clone()
        first = self.released("train", "--raise-floors")
        self.proof.require(len(first) == len(SIX), "the first train", f"tags {first}")
        self.refuse_unpublished(first)
        self.publish(first)
        self.install("fresh", "ddetr-cli")
        self.change_ops()
        breaking = next_breaking(version_in(first, "ddetr-ops"))
        (alone,) = self.released("ddetr-ops", breaking)
        self.fits(f"after {alone} alone")
        self.publish([alone])
        self.refuse_mixed(
            f"ddetr-ops=={breaking}", f"ddetr-model=={version_in(first, 'ddetr-model')}"
        )
        self.install(f"after {alone}", "ddetr-cli")
        self.force_mixed(f"ddetr-ops=={breaking}")
        followers = self.released("train")
        self.fits("after those that follow")
        self.publish(followers)
        self.upgrade(breaking)
        self.write_fragment("ddetr-ops", "next", "changed")
        early = self.released("train", "--pre", "rc")
        self.fits("after the pre-releases")
        self.publish(early)
        self.install("beside pre-releases", "ddetr-ops")
        self.check_tags()

    def make_clone(self) -> None:
        """Clone this repository as it is committed, on main; each package has changes to tell."""
        self.proof.tried.append("git clone")
        self.run("git", "clone", "--quiet", str(ROOT), str(self.clone), cwd=ROOT)
        self.git("switch", "--quiet", "--force-create", "main")
        self.git("config", "user.name", "A Releaser")
        self.git("config", "user.email", "releaser@example.org")
        for name in SIX:
            changelog = self.clone / "packages" / name / "CHANGELOG.md"
            if "- unreleased" not in changelog.read_text("utf-8"):
                self.write_fragment(name, "rehearsal", "changed")
        ours = {name.replace("-", "_") for name in SIX}
        found = {each.metadata["Name"]: each.version for each in distributions()}
        self.pins.write_text(
            "".join(
                f"{name}=={version}\n"
                for name, version in sorted(found.items())
                if name.lower().replace("-", "_") not in ours
            )
        )

    def released(self, *words: str) -> list[str]:
        """Run the release script, and give the tags that it made."""
        self.proof.tried.append(f"release.py {' '.join(words)}")
        self.run(sys.executable, "scripts/release.py", *words)
        clean = self.git("status", "--porcelain") == ""
        self.proof.require(clean, "a clean tree after a release", f"changes after {words}")
        return self.git("tag", "--points-at", "HEAD", "--sort", "creatordate").split()

    def fits(self, when: str) -> None:
        """Require floors that have what is used; that ranges take siblings, each release checks."""
        ran = self.attempt(sys.executable, "scripts/release.py", "floors")
        self.proof.require(ran.returncode == 0, f"floors {when}", ran.stderr)

    def change_ops(self) -> None:
        """Give the operator a new name and a change that may break."""
        face = self.clone / "packages" / "ddetr-ops" / "src" / "ddetr_ops" / "__init__.py"
        face.write_text(face.read_text("utf-8") + "\nREHEARSED = True\n", "utf-8")
        self.write_fragment("ddetr-ops", "rehearsal", "changed")

    def write_fragment(self, package: str, name: str, kind: str) -> None:
        fragment = self.clone / "packages" / package / "changelog.d" / f"{name}.{kind}.md"
        fragment.write_text("Something of the rehearsal changes.\n", "utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"{package}: change something")

    def refuse_unpublished(self, tags: list[str]) -> None:
        """Ask whether the model may be published before the operator is."""
        if self.index is None:
            return
        (tag,) = [tag for tag in tags if tag.startswith("ddetr-model-")]
        ran = self.attempt(sys.executable, "scripts/release.py", "published", tag)
        self.proof.figures["published too early"] = ran.stderr.strip()
        refused = ran.returncode == 1 and "publish that first" in ran.stderr
        self.proof.require(refused, "siblings are published first", f"it says {ran.stderr}")

    def publish(self, tags: list[str]) -> None:
        """Build what each tag names and upload it; a floor that is not out yet is told first."""
        if self.index is None:
            return
        for tag in sorted(tags, key=lambda tag: SIX.index(tag.rpartition("-v")[0])):
            package = tag.rpartition("-v")[0]
            ran = self.attempt(sys.executable, "scripts/release.py", "published", tag)
            self.proof.require(ran.returncode == 0, "floors are published first", ran.stderr)
            dist = self.folder / "dist" / tag
            self.run("uv", "build", "--quiet", "--out-dir", str(dist), f"packages/{package}")
            files = [str(path) for path in sorted(dist.iterdir()) if path.suffix in (".whl", ".gz")]
            self.run("uv", "publish", "--quiet", *self.index.upload_options, *files)
            self.proof.passed("packages published")
        self.proof.tried.append(f"uv publish {', '.join(sorted(tags))}")

    def environment(self, name: str) -> str:
        """Make an empty environment, and give its Python."""
        folder = self.folder / re.sub(r"\W", "-", name)
        self.run("uv", "venv", "--quiet", "--python", sys.executable, str(folder))
        return str(folder / "bin" / "python")

    def install(self, when: str, *words: str) -> str:
        """Install from the index into a new environment; give its Python."""
        if self.index is None:
            return ""
        python = self.environment(when)
        self.proof.tried.append(f"uv pip install {' '.join(words)}, {when}")
        self.run("uv", "pip", "install", "--quiet", *self.options(python), *words)
        self.look(when, python)
        return python

    def options(self, python: str) -> tuple[str, ...]:
        return ("--python", python, "--refresh", "--constraint", str(self.pins))

    def look(self, when: str, python: str) -> None:
        """Write down which versions came, and run the command if it came too."""
        listed = self.run("uv", "pip", "list", "--python", python, "--format", "freeze")
        versions = re.findall(r"(?m)^(ddetr-\w+==\S+)$", listed)
        self.proof.figures[f"installed {when}"] = versions
        self.run("uv", "pip", "check", "--python", python)
        self.proof.passed("environments that fit together")
        if any(each.startswith("ddetr-cli") for each in versions):
            ran = self.attempt(python, "-m", "ddetr_cli", "doctor")
            self.proof.require(ran.returncode == 0, "ddetr doctor", ran.stdout + ran.stderr)

    def refuse_mixed(self, *words: str) -> None:
        """Ask for versions that do not go together; the resolver says why in a sentence."""
        if self.index is None:
            return
        python = self.environment("mixed")
        self.proof.tried.append(f"uv pip install {' '.join(words)}")
        ran = self.attempt("uv", "pip", "install", *self.options(python), *words)
        told = " ".join(ran.stderr.partition("No solution")[2].split())
        self.proof.figures["mixed versions asked for"] = f"No solution {told}"
        refused = ran.returncode != 0 and re.search(r"ddetr-model\S* depends? on ddetr-ops", told)
        self.proof.require(bool(refused), "mixed versions are refused", f"it says {ran.stderr}")

    def force_mixed(self, wanted: str) -> None:
        """Install a version past the resolver: it is told afterwards."""
        if self.index is None:
            return
        python = self.install("mixed by force", "ddetr-cli")
        self.proof.tried.append(f"uv pip install --no-deps {wanted}")
        options = ("--quiet", "--no-deps", "--refresh")
        self.run("uv", "pip", "install", "--python", python, *options, wanted)
        ran = self.attempt("uv", "pip", "check", "--python", python)
        told = [line for line in ran.stderr.splitlines() if line.startswith("The package")]
        self.proof.figures["mixed versions installed"] = told
        self.proof.require(bool(told), "mixed versions are told", f"it says {ran.stderr}")
        ran = self.attempt(python, "-m", "ddetr_cli", "doctor")
        told = [line for line in (ran.stdout + ran.stderr).splitlines() if "needs ddetr-" in line]
        self.proof.figures["ddetr doctor of mixed versions"] = told

    def upgrade(self, breaking: str) -> None:
        """Upgrade the fresh environment: all that has followed comes along."""
        if self.index is None:
            return
        python = str(self.folder / "fresh" / "bin" / "python")
        self.proof.tried.append("uv pip install --upgrade ddetr-cli, in the first environment")
        ours = [word for name in SIX for word in ("--upgrade-package", name)]
        words = ("uv", "pip", "install", "--quiet", *self.options(python), *ours, "ddetr-cli")
        self.run(*words)
        self.look("after an upgrade", python)
        versions = self.proof.figures["installed after an upgrade"]
        came = f"ddetr-ops=={breaking}" in versions
        self.proof.require(came, "an upgrade brings all", f"it has {versions}")

    def check_tags(self) -> None:
        """Require that each tag agrees at its commit, has notes, and no other does."""
        tags = self.git("tag", "--sort", "-creatordate").split()
        for tag in tags[:2] if self.proof.is_slice else tags:
            self.git("switch", "--quiet", "--detach", tag)
            for words in (("check", tag), ("floors", tag), ("notes", tag)):
                ran = self.attempt(sys.executable, "scripts/release.py", *words)
                self.proof.require(ran.returncode == 0, f"{words[0]} of a tag", ran.stderr)
            package = tag.rpartition("-v")[0]
            ran = self.attempt(sys.executable, "scripts/release.py", "check", f"{package}-v9.9.9")
            self.proof.require(ran.returncode == 1, "another tag is refused", ran.stdout)

    def git(self, *words: str) -> str:
        return self.run("git", *words).strip()

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """Run a command that must succeed, and give what it printed."""
        ran = self.attempt(*words, cwd=cwd)
        if ran.returncode:
            told = " ".join((ran.stderr or ran.stdout).split())
            raise StepFailedError(f"{' '.join(words[:4])} fails: {told}")
        return ran.stdout

    def attempt(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if key not in SOURCES}
        environment |= {"DDETR_OPS_PURE": "1", "NO_COLOR": "1"}
        if self.index is not None:
            environment["UV_INDEX"] = self.index.url
        return subprocess.run(
            words,
            cwd=cwd or self.clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


def version_in(tags: list[str], package: str) -> str:
    """Give the version of a package among tags."""
    return next(tag.removeprefix(f"{package}-v") for tag in tags if tag.startswith(f"{package}-v"))


def next_breaking(version: str) -> str:
    major, minor, _ = version.split(".")
    return f"0.{int(minor) + 1}.0" if major == "0" else f"{int(major) + 1}.0.0"


if __name__ == "__main__":
    run_proof("release", "Releases, published to a local index and installed.", prove)
