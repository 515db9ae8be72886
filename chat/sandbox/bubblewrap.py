"""The bubblewrap sandbox: CPython with pandas and matplotlib in Linux namespaces (bwrap).

Only the interpreter, its libraries and the environment built by `make sandbox` are mounted, all
read-only. There is no network, no `/proc`, no other process, and no way to start one.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from chat.sandbox import inside
from chat.sandbox.base import FOLDER, SandboxLimits, SandboxUnavailable
from chat.sandbox.process import ProcessSession, start_session

PROGRAM = (
    "import json, sys; sys.path.append('/atrium'); "
    "from chat.sandbox.inside.cpython import main; main('/packages', json.loads({limits!r}))"
)
# Folders of the system libraries and the dynamic loader; symbolic links are recreated.
LIBRARIES = [Path(place) for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")]
STAMP = "built-for"


class BubblewrapSandbox:
    """Sandbox that runs CPython under bwrap.

    `environment` is the folder built by `make sandbox`. Saved sessions restore all files, and
    variables that can be pickled.
    """

    name = "bubblewrap"
    description = (
        "Runs Python and returns what it prints, the value of its last expression, the files it "
        "writes and the figures it draws with matplotlib (plt.show() is not needed). Variables "
        "and files stay for later calls in this chat. pandas, numpy and matplotlib are "
        f"installed. Files lie in {FOLDER}, the working folder; only those right in it are kept. "
        "There is no network, and neither threads nor other programs can be started."
    )

    def __init__(self, environment: Path) -> None:
        self.environment = environment.resolve()

    async def check(self) -> None:
        """Raise SandboxUnavailable if bwrap or the environment is missing or incompatible."""
        if shutil.which("bwrap") is None:
            raise SandboxUnavailable("The program bwrap is missing (Debian: bubblewrap).")
        stamp = self.environment / STAMP
        built_for = stamp.read_text().strip() if stamp.is_file() else ""
        if built_for != sys.implementation.cache_tag:
            raise SandboxUnavailable("The sandbox's packages are missing: run make sandbox.")

    async def open(self, limits: SandboxLimits, *, saved: bytes | None = None) -> ProcessSession:
        """Open a session and restore the files and variables of `saved`.

        Raises:
            SandboxUnavailable: bwrap or the environment is missing, the process did not start,
                or the kernel does not allow user namespaces.
        """
        await self.check()
        program = PROGRAM.format(limits=json.dumps(asdict(limits)))
        command = [*self._build_command(), "--", str(_get_interpreter()), "-I", "-S", "-c", program]
        return await start_session(command, limits, saved=saved)

    def _build_command(self) -> list[str]:
        arguments = [
            shutil.which("bwrap") or "bwrap",
            *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"),
            *("--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session"),
            *("--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--clearenv"),
            # For one tmpfs mount with an inode limit, which bwrap cannot create; dropped after it.
            *("--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"),
        ]
        for name, value in _build_environment().items():
            arguments += ["--setenv", name, value]
        for path in LIBRARIES:
            if path.is_symlink():
                arguments += ["--symlink", str(path.readlink()), str(path)]
        for path in [*LIBRARIES, *_get_python_paths()]:
            if path.exists() and not path.is_symlink():
                arguments += ["--ro-bind", str(path), str(path)]
        own = str(Path(inside.__file__).parent)
        return [
            *arguments,
            *("--ro-bind", own, "/atrium/chat/sandbox/inside"),
            *("--ro-bind", str(self.environment), "/packages"),
            *("--dev-bind", "/dev/null", "/dev/null", "--dir", "/mnt"),
            *("--remount-ro", "/", "--chdir", "/"),
        ]


def _get_interpreter() -> Path:
    return Path(sys.base_exec_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")


def _get_python_paths() -> list[Path]:
    """Return the paths of the interpreter that are not below /usr/lib."""
    wanted = [_get_interpreter(), Path(sys.base_prefix, "lib")]
    return [path for path in wanted if not path.is_relative_to("/usr/lib")]


def _build_environment() -> dict[str, str]:
    return {
        "HOME": "/mnt/tmp",
        "TMPDIR": "/mnt/tmp",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/mnt/tmp/matplotlib",
        "OPENBLAS_NUM_THREADS": "1",
    }
