"""Where photographs come from: image sets that are available, and the registry of those that can be fetched."""
