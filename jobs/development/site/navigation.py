"""The parts of the site, and which page of the repository is in which.

A part has groups, and a group has entries: ``FILE``; ``FILE#SECTION``, a section under a
second-level heading as its own page; ``FILE#*``, the introduction and every section not named
elsewhere; a pattern for files not named elsewhere; or a page of
:data:`~jobs.development.site.reference.GENERATED`.
"""

HOME = "README.md"
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Tutorial": {
        "First steps": ("jobs/TUTORIAL.md", "jobs/README.md#the-demo"),
        "Notebooks": ("jobs/notebooks/*.ipynb",),
    },
    "How-to": {
        "Use the commands": ("jobs/README.md#*",),
        "Run on a cluster": (
            "infra/README.md#*",
            "infra/slurm/README.md",
            "infra/two-machines/README.md",
            "infra/**/*.md",
        ),
        "Use it from Python": ("scanner/README.md#from-python", "scanner/README.md#mitigate"),
        "Change the code": ("CONTRIBUTING.md", "scanner/README.md#change-the-code"),
    },
    "Reference": {
        "Terms, columns and files": (
            "scanner/README.md#vocabulary",
            "reference/columns.md",
            "jobs/README.md#what-a-run-contains",
        ),
        "Options of the commands": ("jobs/OPTIONS.md#*",),
        "Named queries": ("sql/README.md#*",),
        "Python": ("reference/python.md",),
        "Models and cost": ("scanner/models/README.md", "jobs/README.md#cost-and-speed"),
        "Clusters": (
            "infra/README.md#sizing",
            "infra/README.md#what-a-failure-looks-like",
            "infra/README.md#what-the-pods-may-do",
        ),
        "Releases": ("CHANGELOG.md",),
    },
    "Explanation": {
        "Signals": (
            "scanner/signals/WHAT_TO_TRUST.md",
            "scanner/signals/README.md",
            "scanner/signals/**/*.md",
        ),
        "Mitigation": ("scanner/mitigation/README.md", "scanner/mitigation/**/*.md"),
        "Verdicts and the testbed": (
            "scanner/evidence/verify/README.md",
            "scanner/testbed/README.md",
        ),
        "Architecture": (
            "scanner/README.md#*",
            "infra/README.md#how-a-scan-runs-on-a-cluster",
            "scanner/**/*.md",
        ),
        "Security": ("SECURITY.md",),
    },
}
