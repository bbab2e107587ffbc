"""What the 3DM-WeConv layer does: its bands, receptive field, speed, and a denoising trial."""
