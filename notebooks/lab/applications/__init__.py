"""Beyond compression: denoising, classification, segmentation and video with 3DM-WeConv (paper, outlook)."""
