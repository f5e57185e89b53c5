"""Write requirements.lock from what pip would install: `make lock`.

python docs/lock.py REPORT     REPORT: `pip install --dry-run --ignore-installed --report REPORT …`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
HEADER = """\
# Every package of `make test` with the sha256 of the file that was installed. Written by `make lock`
# for {python} on {platform}; elsewhere use constraints.txt, which has the versions alone.
# pip install --require-hashes -r requirements.lock && pip install --no-deps -e .
"""


def lock(report: dict[str, Any]) -> str:
    """The lines of the lock file; no address of an index is in them."""
    environment = report["environment"]
    python = f"{environment['implementation_name']} {environment['python_version']}"
    lines = [
        f"{found['metadata']['name']}=={found['metadata']['version']}"
        f" --hash=sha256:{found['download_info']['archive_info']['hashes']['sha256']}"
        for found in report["install"]
        if "archive_info" in found["download_info"]  # not the package itself
    ]
    header = HEADER.format(python=python, platform=f"{environment['sys_platform']} {environment['platform_machine']}")
    return header + "\n".join(sorted(lines, key=str.lower)) + "\n"


if __name__ == "__main__":
    LOCK.write_text(lock(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), encoding="utf-8")
