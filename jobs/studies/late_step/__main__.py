"""``python -m jobs.studies.late_step``."""

import sys

from jobs.studies.late_step import main

sys.exit(main())
