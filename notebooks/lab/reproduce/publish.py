"""Make the results of a full run on this machine the release's (``make publish``, for maintainers).

Tables, figures, executed notebooks and the certificate are copied from ``results/run/`` to ``results/``, which nothing
else writes; README and the model card are filled from them.
"""

from __future__ import annotations

import shutil
import sys

from lab.reproduce import fill_readme
from lab.reproduce.certificate import certify
from lab.reproduce.run_records import REPOSITORY, Tree, finished_runs, write_manifest
from weconvene_core.errors import WeconveneError

FOLDERS = {"tables": "*.csv", "figures": "*", "notebooks": "*.ipynb", "compressai": "*.json"}
WHOLE = ("figures", "notebooks", "compressai")  # every file of them is made anew; tables of experiments are not


def publish(tree: Tree = REPOSITORY) -> int:
    """Copy what the last run made and return the number of files.

    Raises
    ------
    WeconveneError
        If a notebook has not run in full mode; nothing is copied then.
    """
    runs = finished_runs(tree)
    lacking = [path.stem for path in tree.notebooks if getattr(runs.get(path.stem), "mode", None) != "full"]
    if lacking:
        raise WeconveneError(f"{', '.join(lacking)} did not run in full mode here: make publish runs all of them.")
    count = 0
    for folder, pattern in FOLDERS.items():
        made = [path for path in sorted((tree.results / folder).glob(pattern)) if path.is_file()]
        if folder in WHOLE:
            for path in (tree.published / folder).glob(pattern):
                path.unlink()
        for path in made:
            (tree.published / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tree.published / folder / path.name)
        count += len(made)
    certify(tree)  # against what has just become the release's
    write_manifest(tree)
    for name in ("certificate.csv", "certificate.md", "manifest.json"):
        shutil.copyfile(tree.results / name, tree.published / name)
    return count


def main() -> int:
    """Publish, then fill README and the model card."""
    try:
        print(f"{publish()} files are the release's now")
    except (OSError, WeconveneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return fill_readme.main()


if __name__ == "__main__":
    sys.exit(main())
