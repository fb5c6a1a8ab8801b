"""The command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CODE = "import sys; from oga_core.command import run; {before}; sys.exit(run())"
OGA = [sys.executable, "-P", "-c", CODE.format(before="pass")]
SECONDS = 60.0


def oga(*arguments: object, workspace: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OGA_WORKSPACE": str(workspace), **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [*OGA, *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, timeout=SECONDS, check=False, **options)
