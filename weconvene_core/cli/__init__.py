"""The command line: ``weconvene encode``, ``decode``, ``info``, ``train`` and the rest."""
