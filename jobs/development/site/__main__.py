"""``python -m jobs.development.site``."""

import sys

from jobs.development.site import main

sys.exit(main())
