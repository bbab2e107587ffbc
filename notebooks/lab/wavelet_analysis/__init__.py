"""What the wavelets do: energy compaction, correlation of channels, speed."""
