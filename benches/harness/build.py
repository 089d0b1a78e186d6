"""The programs that a run needs: Larder and the tools beside it, from one checkout, and what the machine must have."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ("control", "load", "origin")


def check_machine():
    """Ends the run with the remedy where a program is missing."""
    missing = [name for name in ("nginx", "wrk", "cargo") if shutil.which(name, path=search_path()) is None]
    if missing:
        sys.exit(f"benches/run: {', '.join(missing)} not found; Debian: apt-get install -y nginx wrk")


def search_path():
    """nginx lives in sbin, which an ordinary user's PATH lacks."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def larder_binary():
    """Built alone: with the tools, cargo would build its dependencies with the features of tests."""
    return cargo_build("--bin", "larder")["larder"]


def unaccounted_binary():
    """Larder's twin that counts nothing, beside its build: dependencies are built again, or both would be built anew at
    every turn."""
    given = os.environ.get("RUSTFLAGS", "")
    return cargo_build(
        "--bin", "larder", "--target-dir", str(target() / "unaccounted"),
        environment={"RUSTFLAGS": f"{given} --cfg larder_unaccounted".strip()},
    )["larder"]  # fmt: skip


def tool_binaries():
    return cargo_build(*(word for tool in TOOLS for word in ("--bench", tool)))


def test_binaries():
    """As the tests have built them, so that almost nothing is left to build: not optimised, and no judged run measures
    them."""
    return cargo_build("--bin", "larder", *(word for tool in TOOLS for word in ("--bench", tool)), profile="dev")


def tools_in(folder):
    return {tool: str(pathlib.Path(folder, tool).resolve()) for tool in TOOLS}


def cargo_build(*what, environment=None, profile="release"):
    command = ["cargo", "build", "--profile", profile, "--message-format=json-render-diagnostics", *what]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | (environment or {}), stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit(f"benches/run: {' '.join(command)} failed")
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def scratch_root():
    """Beside the build, on a real disk: /tmp may be memory."""
    return target() / "bench"


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
