"""Labels: what people, public lists, reviews and verdicts say about captions."""
