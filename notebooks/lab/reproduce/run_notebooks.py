"""Run the notebooks whose inputs changed, in order, then compute the certificate.

``python -m lab.reproduce.run_notebooks --mode quick [NOTEBOOK...]``; ``make reproduce`` calls it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.reproduce import certificate, provenance
from lab.reproduce.fresh import own_tables, set_aside
from lab.reproduce.input_digest import check_mode, input_digest, needs, up_to_date
from lab.reproduce.kernels import KernelsAhead
from lab.reproduce.long_measurements import command_of
from lab.reproduce.run_records import REPOSITORY, Stamp, Tree, read_stamp, write_stamp
from weconvene_core.atomic_files import sha256_of
from weconvene_core.errors import WeconveneError

State = dict[str, tuple[int, int]]


@dataclass
class Outcome:
    """What a run came to: how many notebooks finished, and why others did not, a sentence for each by its name."""

    finished: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def raise_failures(self) -> None:
        """Raise ``WeconveneError`` with every sentence when a notebook did not finish."""
        if self.failures:
            raise WeconveneError(" ".join(f"{sentence}." for sentence in self.failures.values()))


def select(tree: Tree, names: Sequence[str]) -> list[Path]:
    """Return the notebooks that ``names`` pick (``06``, ``06_bd_rate`` or a path), in order; all of them for no name.

    Raises:
        WeconveneError: a name picks nothing, or there is no notebook at all.
    """
    known = tree.notebooks
    if not known:
        raise WeconveneError("there is no notebook in notebooks/; restore the folder, for example with git")
    picked: set[Path] = set()
    for name in names:
        found = [path for path in known if path.stem.startswith(Path(name).stem)]
        if not found:
            raise WeconveneError(f"no notebook is called '{name}': choose from {', '.join(p.stem for p in known)}")
        picked.update(found)
    return sorted(picked) if names else known


def _state(tree: Tree) -> State:
    return {tree.relative(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in tree.artifacts()}


def run_one(
    tree: Tree, notebook: Path, mode: str, digest: str, kernels: KernelsAhead, following: Path | None = None
) -> Stamp:
    """Execute one notebook and record it: the stamp goes first and comes back last, so a cut-off run is run again.

    The kernel of ``following``, the notebook to be run next, warms up meanwhile.

    Raises:
        WeconveneError: as ``execute.execute``.
    """
    from lab.reproduce.execute_notebook import execute  # papermill takes a second to import

    tree.stamp_path(notebook.stem).unlink(missing_ok=True)
    with set_aside(tree, own_tables(tree, notebook.stem)):
        before = _state(tree)
        cost = execute(tree, notebook, mode, kernels, following, progress=sys.stderr.isatty())
        after = _state(tree)
    # a long measurement may be writing its own table at the same time
    changed = [name for name, state in after.items() if before.get(name) != state]
    written = [name for name in changed if command_of(Path(name).name) is None]
    stamp = Stamp(
        notebook=notebook.stem,
        digest=digest,
        mode=mode,
        parameters=cost.parameters,
        seconds=cost.seconds,
        peak_memory_mb=cost.peak_memory_mb,
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        artifacts={name: sha256_of(tree.root / name) for name in written},
        environment=provenance.environment(tree),
    )
    write_stamp(tree, stamp)
    return stamp


def notebook_warnings(tree: Tree, notebook: Path) -> list[str]:
    """Return what the executed copy of a notebook warns of, such as curves or encoders left out, each text once."""
    cells = json.loads((tree.executed / notebook.name).read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    text = "\n".join("".join(output["text"]) for output in outputs)
    return list(dict.fromkeys(re.findall(r"UserWarning: (.+)", text)))


def run_all(
    tree: Tree, notebooks: Sequence[Path], mode: str, force: Callable[[Path], bool], say: Callable[[str], None] = print
) -> Outcome:
    """Execute those notebooks that are forced or not up to date.

    One that fails does not stop the others, except those that read its tables; they are left out, with the reason.
    """

    def due(notebook: Path) -> bool:
        return force(notebook) or not up_to_date(tree, notebook, input_digest(tree, notebook, mode))

    outcome = Outcome()
    with KernelsAhead(tree.notebooks_folder) as kernels:
        for number, notebook in enumerate(notebooks, start=1):
            place = f"[{number}/{len(notebooks)}] {notebook.stem}"
            broken = next((name for name in needs(notebook) if name in outcome.failures), None)
            if broken:
                tree.stamp_path(notebook.stem).unlink(missing_ok=True)  # what it wrote is of earlier tables
                outcome.failures[notebook.stem] = f"{notebook.stem} is left out: it reads the tables of {broken}"
                say(f"{place}: left out, since {broken} failed")
                continue
            if not due(notebook):  # asked here, not before: a digest covers tables that earlier notebooks write
                continue
            say(f"{place} ({mode}) ...")
            digest, following = input_digest(tree, notebook, mode), next(filter(due, notebooks[number:]), None)
            try:
                stamp = run_one(tree, notebook, mode, digest, kernels, following)
            except WeconveneError as exc:
                outcome.failures[notebook.stem] = str(exc)
                say(f"{place}: failed")
                continue
            provenance.write_manifest(tree)
            cost = f"{stamp.seconds:.0f} s, {stamp.peak_memory_mb:.0f} MiB, {len(stamp.artifacts)} files"
            say("\n".join([f"{place}: {cost}", *(f"  warning: {text}" for text in notebook_warnings(tree, notebook))]))
            outcome.finished += 1
    return outcome


def draws_figures(tree: Tree, notebook: Path) -> bool:
    """Tell whether the notebook wrote figures in its last finished run; yes when it has not run here."""
    stamp = read_stamp(tree, notebook.stem)
    return stamp is None or any(name.startswith("results/figures/") for name in stamp.artifacts)


def reproduce(
    mode: str, names: Sequence[str] = (), force: bool = False, figures: bool = False, tree: Tree = REPOSITORY
) -> int:
    """Run what is not up to date and certify; return the process's exit code.

    ``force`` runs the picked notebooks in any case, ``figures`` those of them that draw figures.

    Raises:
        WeconveneError: an unknown mode or notebook; or notebooks that failed, after the others have run and the
            certificate is written.
    """
    check_mode(mode)
    notebooks = select(tree, names)
    outcome = run_all(tree, notebooks, mode, lambda path: force or (figures and draws_figures(tree, path)))
    entries = certificate.entries(tree)
    certificate.write(tree, entries)
    if outcome.finished or outcome.failures:
        certificate.report(entries)
    else:
        ready = f"{len(notebooks)} notebooks are up to date in {mode} mode"
        print(f"Nothing to do: {ready} ({certificate.summary(entries)}).")
    outcome.raise_failures()
    return certificate.exit_code(entries)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, run, and turn a failure into one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m lab.reproduce.run_notebooks", description=__doc__)
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="number, name or path; all of them by default")
    parser.add_argument("--mode", default="quick", help="quick (default) or full")
    parser.add_argument("--force", action="store_true", help="run the named notebooks even when they are up to date")
    parser.add_argument("--figures", action="store_true", help="run the notebooks that draw figures in any case")
    args = parser.parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)
    try:
        return reproduce(args.mode, args.notebooks, args.force, args.figures)
    except WeconveneError as exc:
        print(f"error: {exc}", file=sys.stderr)
    except OSError as exc:
        print(f"error: {exc.strerror or exc}: {exc.filename}; check the disk and the permissions", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted; what finished is kept, and the same command goes on from here", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
