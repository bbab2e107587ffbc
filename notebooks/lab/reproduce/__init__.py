"""Running every notebook, saying what each result came from, and judging the claims.

``tree`` names the folders, ``inputs`` decides what is up to date, ``execute`` runs one notebook, ``fresh``
starts it from empty tables, ``run`` runs them all,
``provenance`` writes the manifest and ``certificate`` computes the verdicts.
"""
