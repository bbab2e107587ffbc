"""Running the notebooks, saying what each result came from, and judging the claims.

``notebooks/Snakefile`` decides what runs. ``run_notebook`` runs one notebook; ``run_records`` keeps its record and the
manifest, ``certificate`` computes the verdicts, ``fill_readme`` fills the numbers into README and the model card.
"""
