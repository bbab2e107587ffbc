"""Where photographs come from: image sets at hand, the registry of what can be fetched, and their terms."""
