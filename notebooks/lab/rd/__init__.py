"""Rate and distortion: metrics, measured points, curves, BD-rate, and the codecs measured beside ours."""
