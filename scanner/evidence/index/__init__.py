"""An index of training images: one embedding per image, and exact nearest-neighbor search."""
