"""``python -m jobs.study_mitigation``."""

import sys

from jobs.study_mitigation import main

sys.exit(main())
