"""What code can do behind bubblewrap's wall, where it has all of Python and the C library."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from chat.sandbox import inside
from chat.sandbox.base import RunEnd, SandboxUnavailable
from chat.sandbox.bubblewrap import BubblewrapSandbox
from tests.sandbox.opened import SHORT_SECONDS, all_end, opened, run_alone
from tests.test_architecture import ROOT

REFUSED = [
    "import socket\nsocket.socket()",
    "import socket\nsocket.socket(socket.AF_UNIX)",
    "import socket\nsocket.create_connection(('127.0.0.1', 5432))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:8000')",
    "import socket\nsocket.socketpair()",
    "import os\nos.fork()",
    "import subprocess\nsubprocess.run(['/bin/sh'])",
    "import os, sys\nos.execv(sys.executable, ['python'])",
    "import threading\nthreading.Thread(target=print).start()",
    "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "import os\nos.kill(os.getppid(), 9)",
    "import os\nos.kill(-1, 9)",
    "import os\nos.killpg(0, 9)",
    "import os\nos.memfd_create('x')",
    "import os\nos.listdir('/proc')",
    "import os\nos.listdir('/etc')",
    "import os\nos.listdir('/home')",
    "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "import mmap\nmmap.mmap(-1, 2**31)",
    "open('huge', 'wb').truncate(2**40)",
]


@pytest.fixture(scope="module")
def refusals(bubblewrap: BubblewrapSandbox) -> dict[str, str]:
    """What each of the codes was told, all in one session."""

    async def ask() -> dict[str, str]:
        async with opened(bubblewrap) as session:
            found = {}
            for code in REFUSED:
                outcome = await session.run(code)
                assert outcome.ended is RunEnd.RAISED, code
                found[code] = (outcome.error or "").strip().splitlines()[-1]
            return found

    return asyncio.run(ask())


@pytest.mark.parametrize("code", REFUSED)
def test_it_is_refused(refusals: dict[str, str], code: str) -> None:
    reasons = "Operation not permitted|No such file|can't start|not allowed|Cannot alloc|too large"
    assert re.search(reasons, refusals[code])


class TestOutside:
    async def test_nothing_of_the_machine_is_there(self, bubblewrap: BubblewrapSandbox) -> None:
        places = ["/etc/passwd", str(ROOT), str(ROOT / "manage.py"), "/run", "/var", "/tmp"]
        code = f"import os\n[place for place in {places} if os.path.exists(place)]"
        assert (await run_alone(bubblewrap, code)).value == "[]"

    async def test_of_the_programs_only_the_interpreter(
        self, bubblewrap: BubblewrapSandbox
    ) -> None:
        code = (
            "import os, sys\n"
            "folders = [os.path.dirname(sys.executable), '/bin', '/usr/bin', '/sbin']\n"
            "sum(len(os.listdir(one)) for one in folders if os.path.isdir(one))"
        )
        assert (await run_alone(bubblewrap, code)).value == "1"

    async def test_all_but_the_folder_is_read_only(self, bubblewrap: BubblewrapSandbox) -> None:
        places = ["/x", "/packages/x", "/atrium/x", "/dev/x", "/usr/lib/x", "/lib/x"]
        code = (
            f"import errno\nfound = []\nfor place in {places}:\n    try: open(place, 'w')\n"
            "    except OSError as error: found.append(errno.errorcode[error.errno])\nfound"
        )
        assert (await run_alone(bubblewrap, code)).value == str(["EROFS"] * len(places))

    async def test_the_environment_holds_no_secret(
        self, bubblewrap: BubblewrapSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgres://secret")
        outcome = await run_alone(bubblewrap, "import os\nsorted(os.environ)")
        assert outcome.value is not None
        assert set(re.findall(r"'(\w+)'", outcome.value)) == {
            *("HOME", "LANG", "MPLBACKEND", "MPLCONFIGDIR", "OPENBLAS_NUM_THREADS", "PWD"),
            "TMPDIR",
        }

    async def test_no_descriptor_of_the_parent_is_open(
        self, bubblewrap: BubblewrapSandbox, tmp_path: Path
    ) -> None:
        code = (
            "import os\nfound = []\nfor number in range(4096):\n    try:\n"
            "        os.fstat(number)\n        found.append(number)\n"
            "    except OSError:\n        pass\nfound"
        )
        leaking = os.open(tmp_path, os.O_RDONLY)
        os.set_inheritable(leaking, True)
        try:
            outcome = await run_alone(bubblewrap, code)
        finally:
            os.close(leaking)
        assert outcome.value == "[0, 1, 2, 3, 4]"

    async def test_no_capability_is_left(self, bubblewrap: BubblewrapSandbox) -> None:
        code = (
            "import ctypes\nc = ctypes.CDLL(None)\n"
            "[c.mount(b'x', b'/mnt', b'tmpfs', 0, None), c.umount2(b'/mnt', 2), "
            "c.unshare(0x10000000), c.setuid(0), c.ptrace(16, 1, 0, 0), c.chroot(b'/mnt')]"
        )
        assert (await run_alone(bubblewrap, code)).value == "[-1, -1, -1, -1, -1, -1]"

    async def test_the_checks_of_files_are_not_fooled(self, bubblewrap: BubblewrapSandbox) -> None:
        code = (
            "import os\nos.symlink('/packages/built-for', 'link.txt')\nos.mkfifo('pipe')\n"
            "os.mkdir('folder')\nopen('folder/x', 'w').write('x')\nopen('plain', 'w').write('x')"
        )
        outcome = await run_alone(bubblewrap, code)
        assert [file.name for file in outcome.files] == ["plain"]

    async def test_a_link_is_not_written_through(self, bubblewrap: BubblewrapSandbox) -> None:
        async with opened(bubblewrap) as session:
            await session.run("import os\nos.symlink('other', 'a.txt')\nopen('other', 'w').close()")
            await session.put_file("a.txt", b"put")
            outcome = await session.run("open('other').read(), os.path.islink('a.txt')")
        assert outcome.value == "('', False)"

    async def test_hostile_names_stay_inside(self, bubblewrap: BubblewrapSandbox) -> None:
        code = "for n in ('a\\nb', '..x', 'x\\u202ey', '-rf', b'\\xff'):\n    open(n, 'w').close()"
        outcome = await run_alone(bubblewrap, code)
        assert [file.name for file in outcome.files] == ["-rf"]
        assert sorted(item.name for item in outcome.skipped) == ["..x", "a?b", "x?y", "\ufffd"]

    async def test_a_sparse_file_is_as_large_as_it_says(
        self, bubblewrap: BubblewrapSandbox
    ) -> None:
        code = "for n in 'abcd':\n    open(n, 'wb').truncate(900)"
        outcome = await run_alone(bubblewrap, code, file=1000, all_files=2000)
        assert [file.name for file in outcome.files] == ["a", "b"]
        assert {item.why for item in outcome.skipped} == {"too many files"}


class TestInside:
    async def test_a_native_crash_is_an_outcome(self, bubblewrap: BubblewrapSandbox) -> None:
        async with opened(bubblewrap) as session:
            outcome = await session.run("print('before')\nimport ctypes\nctypes.string_at(0)")
            assert (outcome.ended, outcome.logs) == (RunEnd.CRASHED, "before\n")
            assert not session.alive

    async def test_code_that_will_not_stop_is_killed(self, bubblewrap: BubblewrapSandbox) -> None:
        code = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"
        async with opened(bubblewrap, run_seconds=SHORT_SECONDS, grace_seconds=0.3) as session:
            family = psutil.Process(session.pid).children(recursive=True)
            outcome = await session.run(code)
            assert outcome.ended is RunEnd.TIME
            assert not session.alive
            assert await all_end(family)

    @pytest.mark.parametrize(
        "code",
        [
            "for n in range(3, 9):\n    try: os.write(n, b'\\xff' * 100)\n    except OSError: pass",
            "for n in range(3, 9):\n    try: os.close(n)\n    except OSError: pass",
            "os._exit(0)",
        ],
    )
    async def test_meddling_with_the_protocol_ends_the_session(
        self, bubblewrap: BubblewrapSandbox, code: str
    ) -> None:
        async with opened(bubblewrap) as session:
            outcome = await session.run(f"import os\n{code}")
            assert outcome.ended is RunEnd.CRASHED
            assert not session.alive

    async def test_a_false_answer_is_noticed_with_the_next_run(
        self, bubblewrap: BubblewrapSandbox
    ) -> None:
        code = (
            "import os\nfrom chat.sandbox.inside import frames\nfor n in range(3, 9):\n"
            "    try: os.write(n, frames.pack({'is': 'done', 'ended': 'finished', 'number': 1}))\n"
            "    except OSError: pass"
        )
        async with opened(bubblewrap) as session:
            assert (await session.run(code)).ended is RunEnd.FINISHED
            assert (await session.run("1")).ended is RunEnd.CRASHED

    async def test_the_way_back_unpickles_nothing(self, bubblewrap: BubblewrapSandbox) -> None:
        mark = ROOT / ".data" / "unpickled"
        code = (
            "class Evil:\n    def __reduce__(self):\n"
            f"        return (open, ({str(mark)!r}, 'w'))\nevil = Evil()\nevil"
        )
        async with opened(bubblewrap) as session:
            assert (await session.run(code)).ended is RunEnd.FINISHED
            assert await session.save() is not None
        assert not mark.exists()

    async def test_nothing_runs_between_two_runs_for_long(
        self, bubblewrap: BubblewrapSandbox
    ) -> None:
        code = (
            "from chat.sandbox.inside import frames\ndef burn(*_):\n    while True: pass\n"
            "frames.read = burn"
        )
        async with opened(bubblewrap, cpu_seconds=1) as session:
            await session.run(code)
            family = psutil.Process(session.pid).children(recursive=True)
            assert await all_end(family)

    async def test_variables_that_cannot_be_kept_are_named(
        self, bubblewrap: BubblewrapSandbox
    ) -> None:
        async with opened(bubblewrap) as session:
            await session.run("x = 1\nopened = open('/dev/null')\nf = lambda: 1")
            saved = await session.save()
        assert saved is not None
        assert sorted(saved.lost) == ["f", "opened"]

    async def test_objects_of_own_classes_are_kept(self, bubblewrap: BubblewrapSandbox) -> None:
        async with opened(bubblewrap) as session:
            await session.run("class A:\n    def __init__(self, n):\n        self.n = n\na = A(3)")
            saved = await session.save()
        assert saved is not None
        async with opened(bubblewrap, goes_on=saved.data) as session:
            assert (await session.run("isinstance(a, A), a.n")).value == "(True, 3)"


class TestCheck:
    async def test_a_missing_environment_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(SandboxUnavailable, match="make sandbox"):
            await BubblewrapSandbox(tmp_path).check()

    async def test_a_missing_program_is_told(
        self, bubblewrap: BubblewrapSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(SandboxUnavailable, match="bwrap is missing"):
            await bubblewrap.check()

    async def test_a_kernel_that_says_no_is_quoted(
        self, bubblewrap: BubblewrapSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "bwrap"
        program.write_text(
            "#!/bin/sh\necho 'bwrap: No permissions to create namespace' >&2\nexit 1"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(SandboxUnavailable, match="No permissions to create"):
            async with opened(bubblewrap):
                pass


def test_what_is_inside_needs_nothing_but_python() -> None:
    with_packages = {"restricted.py", "virtual_fs.py"}  # the other backend's
    files = Path(inside.__file__).parent.glob("*.py")
    imported = {
        name
        for path in files
        if path.name not in with_packages
        for name in re.findall(r"^\s*(?:from|import) (\w+\S*)", path.read_text(), re.MULTILINE)
    }
    own = {name for name in imported if name.startswith("chat")}
    assert own and all(name.startswith("chat.sandbox.inside") for name in own)
    assert {name.split(".")[0] for name in imported - own} <= sys.stdlib_module_names
