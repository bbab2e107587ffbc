"""Where the bits go: slices, subbands, context, and how well the scales fit."""
