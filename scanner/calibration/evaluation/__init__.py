"""How well scores tell memorized captions from the others, and how many labels that takes."""
