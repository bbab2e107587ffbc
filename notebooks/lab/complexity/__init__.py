"""What the models cost: MACs, parameters, memory and latency."""
