"""Which conversion of a PyTorch model is fastest on this hardware, and can the number be believed."""
