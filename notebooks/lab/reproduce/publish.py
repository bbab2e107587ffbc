"""Make the results of a full run on this machine the release's (``make publish``, for maintainers).

``python -m lab.reproduce.publish [NOTEBOOK...]``: of all notebooks, or of some that ran in full mode.

Tables, figures, executed notebooks and the certificate are copied from ``results/run/`` to ``results/``, which nothing
else writes; README and the model card are filled from them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.reproduce import fill_readme
from lab.reproduce.certificate import certify
from lab.reproduce.run_records import REPOSITORY, Tree, altered, finished_runs, write_manifest
from weconvene_core.atomic_files import write_text
from weconvene_core.errors import WeconveneError


def publish(names: Sequence[str] = (), tree: Tree = REPOSITORY) -> int:
    """Copy what notebooks made here and return the number of files; what they made before and no longer make goes.

    Parameters
    ----------
    names : of notebooks; none: all of them.

    Raises
    ------
    WeconveneError
        If one of them has not run in full mode here, or changed since; nothing is copied then.
    """
    runs, names = finished_runs(tree), names or [path.stem for path in tree.notebooks]
    lacking = [name for name in names if getattr(runs.get(name), "mode", None) != "full" or altered(tree, runs[name])]
    if lacking:
        raise WeconveneError(f"{', '.join(lacking)} did not run in full mode here: make publish runs all of them.")
    of_notebooks = {path for run in runs.values() for path in run.artifacts}
    experiments = [path for path in tree.artifacts() if tree.relative(path) not in of_notebooks]
    count = _copied(tree, [path for path in experiments if path.parent.name == "tables"])
    for name in names:
        for pattern in runs[name].patterns:
            for path in tree.published.glob(pattern):
                path.unlink()
        made = [tree.root / path for path in runs[name].artifacts] + [tree.executed / f"{name}.ipynb"]
        count += _copied(tree, made)
    certify(tree)  # against what has just become the release's
    write_manifest(tree)
    return count + _copied(
        tree, [tree.results / name for name in ("certificate.csv", "certificate.md", "manifest.json")]
    )


def _copied(tree: Tree, paths: Sequence[Path]) -> int:
    for path in paths:
        target = tree.published / path.relative_to(tree.results)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            write_text(target, _for_readers(path.read_text(encoding="utf-8")))
        else:
            shutil.copyfile(path, target)
    return len(paths)


def _for_readers(notebook: str) -> str:
    """Return an executed notebook without papermill's own cell, and with links from a folder deeper than its source."""
    node = json.loads(notebook.replace("](../", "](../../"))
    node["cells"] = [cell for cell in node["cells"] if "injected-parameters" not in cell["metadata"].get("tags", ())]
    return json.dumps(node, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    """Publish, then fill README and the model card."""
    try:
        print(f"{publish(sys.argv[1:])} files are the release's now")
    except (OSError, WeconveneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return fill_readme.main()


if __name__ == "__main__":
    sys.exit(main())
