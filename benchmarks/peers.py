"""The virtual environment of the peers, RecTools and RecBole, with pinned versions.

python -m benchmarks.peers [--venv benchmarks/.venv-peers]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
VENV = HERE / ".venv-peers"
CONSTRAINTS = HERE / "peers-constraints.txt"
PACKAGES = ("torch", "rectools[torch]", "recbole", "setuptools")


def ready(folder: Path) -> Path:
    """The environment's Python; the environment is made (some minutes) where it is missing or of other versions."""
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = hashlib.sha256(CONSTRAINTS.read_bytes() + repr(PACKAGES).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"peers: installing {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS)]
    subprocess.run([*pip, *PACKAGES], check=True)
    stamp.write_text(wanted)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=VENV, help="where the environment lies or is made")
    python = ready(parser.parse_args().venv)
    listed = subprocess.run([str(python), "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    names = ("torch", "rectools", "recbole", "numpy", "pandas", "pytorch-lightning")
    print(*(line for line in listed.splitlines() if line.lower().startswith(tuple(f"{n}=" for n in names))), sep="\n")


if __name__ == "__main__":
    main()
