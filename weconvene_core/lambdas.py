"""The rates that one model serves; apart from what needs torch, so that the command line knows them at once."""

LAMBDAS = (0.0007, 0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932)
"""Lambda of quality 0 (the lowest rate), 1, ..., 7: CompressAI's table for MSE, and one below it for 0.1 bpp."""

QUALITY_MIN, QUALITY_MAX = 0.0, len(LAMBDAS) - 1.0
