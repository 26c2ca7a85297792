"""Compare every export of a dataset with SQL: `python -m tests.pipelines.exports_by_sql FOLDER`.

More arguments are methods whose annotations are exported beside the kept labels.
"""

import sys

from stepmark import plugins
from tests.pipelines.exports_by_sql.comparison import KIND, compare, connect, variants_of


def main(dataset: str, *methods: str) -> int:
    """Print a line per export, and the totals; return the number of different rows."""
    connection = connect(dataset)
    exports = 0
    rows = 0
    differences = 0
    for labels_by in ("", *methods):
        for name in plugins.available(KIND):
            for variant in variants_of(name, labels_by):
                compared = compare(connection, dataset, variant)
                exports += 1
                rows += compared.exported
                differences += compared.differences
                lines = [
                    f"{variant}: {compared.exported} rows exported, {compared.by_sql} by SQL,"
                    f" {compared.differences} differences",
                    *compared.examples,
                ]
                print("\n    ".join(lines), flush=True)  # noqa: T201
    print(f"{exports} exports, {rows} rows exported, {differences} differences")  # noqa: T201
    return differences


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
