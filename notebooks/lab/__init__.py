"""The laboratory: what the notebooks and the long experiments use, and nobody who codes or trains."""
