"""``python -m jobs.bench``."""

import sys

from jobs.bench import main

sys.exit(main())
