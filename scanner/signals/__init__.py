"""Pure maths: each function is an equation of the field, tensors in and tensors out."""
