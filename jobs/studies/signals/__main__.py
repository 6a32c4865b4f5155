"""python -m jobs.studies.signals."""

import sys

from jobs.studies.signals import main

sys.exit(main())
