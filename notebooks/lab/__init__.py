"""The laboratory: what the notebooks and the long measurements use, and nobody who codes or trains."""
