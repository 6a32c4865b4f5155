"""A local web page over a run, where people decide about captions."""

from scanner.review.index import ReviewIndex, open_index
from scanner.review.serve import ServeOptions, serve
from scanner.review.site import Site, make_site

__all__ = ["ReviewIndex", "ServeOptions", "Site", "make_site", "open_index", "serve"]
