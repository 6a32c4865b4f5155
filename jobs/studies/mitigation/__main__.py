"""``python -m jobs.studies.mitigation``."""

import sys

from jobs.studies.mitigation import main

sys.exit(main())
