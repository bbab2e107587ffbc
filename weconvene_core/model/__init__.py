"""The model: its configuration, transforms, latent DWT, checkpoints."""
