"""What a model needs of its device."""
