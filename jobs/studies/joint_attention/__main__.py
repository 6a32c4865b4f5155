"""python -m jobs.studies.joint_attention."""

import sys

from jobs.studies.joint_attention import main

sys.exit(main())
