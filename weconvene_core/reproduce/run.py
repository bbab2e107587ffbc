"""Run the notebooks whose inputs changed, in order, then compute the certificate.

``python -m weconvene_core.reproduce.run --mode quick [NOTEBOOK...]``; ``make reproduce`` calls it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from weconvene_core.errors import WeconveneError
from weconvene_core.reproduce import certificate, provenance
from weconvene_core.reproduce.fresh import own_tables, set_aside
from weconvene_core.reproduce.inputs import check_mode, input_digest, up_to_date
from weconvene_core.reproduce.kernels import KernelsAhead
from weconvene_core.reproduce.tree import REPOSITORY, Stamp, Tree, read_stamp, sha256, write_stamp

State = dict[str, tuple[int, int]]


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
    from weconvene_core.reproduce.execute import execute  # papermill takes a second to import

    tree.stamp_path(notebook.stem).unlink(missing_ok=True)
    with set_aside(tree, own_tables(tree, notebook.stem)):
        before = _state(tree)
        cost = execute(tree, notebook, mode, kernels, following, progress=sys.stderr.isatty())
        after = _state(tree)
    written = [name for name, state in after.items() if before.get(name) != state]
    stamp = Stamp(
        notebook=notebook.stem,
        digest=digest,
        mode=mode,
        parameters=cost.parameters,
        seconds=cost.seconds,
        peak_memory_mb=cost.peak_memory_mb,
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        artifacts={name: sha256(tree.root / name) for name in written},
        environment=provenance.environment(tree),
    )
    write_stamp(tree, stamp)
    return stamp


def run_all(
    tree: Tree, notebooks: Sequence[Path], mode: str, force: Callable[[Path], bool], say: Callable[[str], None] = print
) -> int:
    """Execute those notebooks that are forced or not up to date, and return how many that were.

    Raises:
        WeconveneError: as ``execute.execute``; notebooks that finished before stay finished.
    """

    def due(notebook: Path) -> bool:
        return force(notebook) or not up_to_date(tree, notebook, input_digest(tree, notebook, mode))

    done = 0
    with KernelsAhead(tree.notebooks_folder) as kernels:
        for number, notebook in enumerate(notebooks, start=1):
            if not due(notebook):  # asked here, not before: a digest covers tables that earlier notebooks write
                continue
            say(f"[{number}/{len(notebooks)}] {notebook.stem} ({mode}) ...")
            digest, following = input_digest(tree, notebook, mode), next(filter(due, notebooks[number:]), None)
            stamp = run_one(tree, notebook, mode, digest, kernels, following)
            provenance.write_manifest(tree)
            cost = f"{stamp.seconds:.0f} s, {stamp.peak_memory_mb:.0f} MiB, {len(stamp.artifacts)} files"
            say(f"[{number}/{len(notebooks)}] {notebook.stem}: {cost}")
            done += 1
    return done


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
        WeconveneError: an unknown mode or notebook, or a notebook that failed.
    """
    check_mode(mode)
    notebooks = select(tree, names)
    done = run_all(tree, notebooks, mode, lambda path: force or (figures and draws_figures(tree, path)))
    entries = certificate.entries(tree)
    certificate.write(tree, entries)
    if done == 0:
        ready = f"{len(notebooks)} notebooks are up to date in {mode} mode"
        print(f"Nothing to do: {ready} ({certificate.summary(entries)}).")
    else:
        certificate.report(entries)
    return certificate.exit_code(entries)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, run, and turn a failure into one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m weconvene_core.reproduce.run", description=__doc__)
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
