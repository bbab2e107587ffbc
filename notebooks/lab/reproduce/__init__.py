"""Running the notebooks, saying what each result came from, and judging the claims.

``notebooks/Snakefile`` decides what runs. ``run_notebook`` runs one notebook and writes its record (``run_records``),
``provenance`` writes the manifest, ``claims`` and ``certificate`` compute the verdicts, and ``fill_readme`` fills the
numbers into README and the model card.
"""
