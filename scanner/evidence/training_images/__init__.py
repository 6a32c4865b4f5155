"""The training images of samples: which to read, where they are, and work over them."""
