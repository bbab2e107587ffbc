"""What Windows and macOS lack is not used. No such machine ran these tests: they take away what would be missing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import NOTEBOOKS, ROOT

POSIX_MODULES = ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses")
EXTRAS = ("compressai", "pooch", "pydantic", "pytorch_msssim", "skimage", "torchvision", "pandas", "scipy")
LACKING = """
    os.fork os.forkpty os.getuid os.geteuid os.getgid os.getegid os.getpgid os.setsid os.setpgid os.killpg os.nice
    os.uname os.mkfifo os.mknod os.chown os.chroot os.wait os.sched_getaffinity os.sched_setaffinity os.sysconf
    os.confstr os.statvfs os.getloadavg os.pread os.pwrite os.openpty os.sendfile os.posix_fadvise os.posix_fallocate
    os.register_at_fork os.ctermid os.setuid os.setgid os.O_NOFOLLOW time.clock_settime time.tzset
    signal.SIGKILL signal.SIGHUP signal.SIGQUIT signal.SIGUSR1 signal.SIGUSR2 signal.SIGALRM signal.SIGCHLD
    signal.SIGPIPE signal.SIGSTOP signal.SIGTSTP signal.SIGCONT signal.alarm signal.pause signal.setitimer
    signal.siginterrupt signal.pthread_kill signal.pthread_sigmask signal.sigwait
"""
"""Attributes that Windows or macOS lack; ``getattr(os, name, None)`` is how to use one where it is there."""
SOURCES = sorted([*(ROOT / "weconvene_core").rglob("*.py"), *(NOTEBOOKS / "lab").rglob("*.py")])
IMPORT = """
import builtins, importlib, sys
absent, modules = [word.split(",") for word in sys.argv[1:3]]
real = builtins.__import__

def without(name, globals=None, locals=None, fromlist=(), level=0):
    asks = (globals or {}).get("__name__", "").split(".")[0]
    if asks in ("weconvene_core", "lab") and name.split(".")[0] in absent:
        raise ModuleNotFoundError(f"{name} is not on this machine", name=name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = without
for module in modules:
    importlib.import_module(module)
"""


def module_name(path: Path) -> str:
    base = ROOT if path.is_relative_to(ROOT / "weconvene_core") else NOTEBOOKS
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def import_without(absent: tuple[str, ...], modules: list[str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", IMPORT, ",".join(absent), ",".join(modules)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(NOTEBOOKS)))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_module_imports_without_what_only_unix_has() -> None:
    import_without(POSIX_MODULES, [module_name(path) for path in SOURCES if path.name != "__main__.py"])


@pytest.mark.slow
def test_coding_imports_without_the_extras() -> None:
    rooms = [module_name(path) for path in SOURCES if path.is_relative_to(ROOT / "weconvene_core")]
    coding = [name for name in rooms if ".training" not in name and not name.endswith("__main__")]
    assert len(coding) > 40
    import_without((*POSIX_MODULES, *EXTRAS), coding)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_attribute_is_used_that_a_platform_lacks(path: Path) -> None:
    nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Attribute)]
    assert {f"{n.value.id}.{n.attr}" for n in nodes if isinstance(n.value, ast.Name)} & {*LACKING.split()} == set()


def test_files_say_their_encoding() -> None:
    """Windows would take the code page of its language."""
    command = [sys.executable, "-m", "ruff", "check", "--preview", "--select", "PLW1514", "weconvene_core", "notebooks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
