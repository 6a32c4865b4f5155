"""``python -m jobs.studies.mitigation_methods``."""

import sys

from jobs.studies.mitigation_methods import main

sys.exit(main())
