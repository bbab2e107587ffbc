"""Codec: whole pictures to self-contained files and back; see :mod:`weconvene_core.codec.api`."""
