"""Rebuild the vendored browser libraries from the exact versions in versions.json.

Run ``python chat/web/vendor/renew.py`` (needs Node and npm; the installed page needs neither).
It installs the packages into a temporary folder, bundles them with esbuild, copies the math fonts
and the licences, and rewrites manifest.json with the SHA-256 of every file. With ``--check`` it
only compares the files in the tree with manifest.json and exits with 1 on a difference.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
TARGET = HERE.parent / "static" / "chat" / "vendor"
AXE = REPOSITORY / "tests" / "browser" / "axe.min.js"
MANIFEST = HERE / "manifest.json"
LICENCES = HERE / "LICENCES.txt"
BUNDLES = ("markdown", "highlight", "math")


def install(folder: Path) -> Path:
    """Install the pinned packages below ``folder`` and return its node_modules."""
    versions = json.loads((HERE / "versions.json").read_text())
    wanted = {**versions["packages"], **versions["test_packages"]}
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": wanted}))
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("renew.py needs npm on the path.")
    subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"],
        cwd=folder,
        check=True,
    )
    return folder / "node_modules"


def bundle(modules: Path) -> None:
    """Write one minified ES module per entry file."""
    esbuild = next(modules.glob("@esbuild/*/bin/esbuild"))
    for name in BUNDLES:
        entry = modules.parent / f"{name}.entry.js"
        shutil.copy(HERE / entry.name, entry)
        subprocess.run(
            [
                str(esbuild),
                str(entry),
                "--bundle",
                "--minify",
                "--format=esm",
                "--target=es2022",
                "--charset=utf8",
                "--legal-comments=none",
                f"--outfile={TARGET / name}.js",
            ],
            check=True,
        )


def copy_math_styles(modules: Path) -> None:
    """Copy KaTeX's style sheet with only the woff2 font of each face."""
    dist = modules / "katex" / "dist"
    css = (dist / "katex.min.css").read_text()
    css = re.sub(r',url\([^)]*\.woff\) format\("woff"\)', "", css)
    css = re.sub(r',url\([^)]*\.ttf\) format\("truetype"\)', "", css)
    (TARGET / "math.css").write_text(css)
    (TARGET / "fonts").mkdir(exist_ok=True)
    for font in sorted((dist / "fonts").glob("*.woff2")):
        shutil.copy(font, TARGET / "fonts" / font.name)


def collect_licences(modules: Path) -> None:
    """Write the licence text of every bundled package into one file."""
    versions = json.loads((HERE / "versions.json").read_text())["packages"]
    parts: list[str] = []
    for name, version in versions.items():
        if name == "esbuild":
            continue
        licence = json.loads((modules / name / "package.json").read_text())["license"]
        texts = sorted((modules / name).glob("LICEN[CS]E*"))
        body = texts[0].read_text().strip() if texts else f"Licence: {licence}"
        parts.append(f"{name} {version} ({licence})\n\n{body}\n")
    LICENCES.write_text(("\n" + "-" * 80 + "\n\n").join(parts))


def compute_digests() -> dict[str, str]:
    """Return a mapping of repository path to SHA-256 for every vendored file."""
    files = [*sorted(path for path in TARGET.rglob("*") if path.is_file()), AXE]
    return {
        path.relative_to(REPOSITORY).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def check() -> int:
    """Return 1 and print the files if the tree differs from the manifest."""
    recorded: dict[str, str] = json.loads(MANIFEST.read_text())
    present = compute_digests()
    changed = sorted(
        path for path in recorded.keys() | present.keys() if recorded.get(path) != present.get(path)
    )
    for path in changed:
        sys.stderr.write(f"differs from the manifest: {path}\n")
    return 1 if changed else 0


def renew() -> None:
    """Replace every vendored file."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        modules = install(Path(scratch))
        bundle(modules)
        copy_math_styles(modules)
        collect_licences(modules)
        AXE.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(modules / "axe-core" / "axe.min.js", AXE)
    MANIFEST.write_text(json.dumps(compute_digests(), indent=2) + "\n")


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(check())
    renew()
