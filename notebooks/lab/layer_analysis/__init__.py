"""What the 3DM-WeConv layer does: its bands, receptive field, and a denoising trial."""
