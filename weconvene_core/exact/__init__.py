"""The bit-exact integer path: the entropy model in fixed-point arithmetic, the same on every machine."""
