"""`deploy/install.py` with wheels built here, so that no test needs a network."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from install import is_usable

from tests.support import ROOT

INSTALL = ROOT / "deploy" / "install.py"


class Checkout:
    """A folder with the installer, two lock files and the wheels that they name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"

    def install(self, *arguments: str, wheels: str = "wheels") -> str:
        """Run the installer with the files of one folder as its only index; return the output."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        env |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        env["PIP_FIND_LINKS"] = str(self.root / wheels)
        command = [sys.executable, "deploy/install.py", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def run_script(self, name: str) -> str:
        """Return what an installed command prints: its version and its environment."""
        command = [self.venv / "bin" / name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @property
    def site_packages(self) -> Path:
        return next(self.venv.glob("lib/python*/site-packages"))


def build_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel with one module and one command; return its line for a lock file."""
    info = f"{name}-{version}.dist-info"
    main = f"def main(): print({version!r}, __import__('sys').prefix)\n"
    files = {
        f"{name}.py": main,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return (
        f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout after its first installation, shared by tests that leave it usable."""
    root = tmp_path_factory.mktemp("first") / "marquee"
    (root / "deploy").mkdir(parents=True)
    shutil.copy(INSTALL, root / "deploy")
    (root / "wheels").mkdir()
    lock = build_wheel(root / "wheels", "alpha", "1.0") + build_wheel(root / "wheels", "beta", "2")
    (root / "requirements.lock").write_text(lock)
    (root / "requirements-dev.lock").write_text(lock + build_wheel(root / "wheels", "gamma", "3"))
    checkout = Checkout(root)
    assert "creating" in checkout.install()
    return checkout


def test_first_run_installs_the_locked_versions(installed: Checkout) -> None:
    assert installed.run_script("alpha") == f"1.0 {installed.venv}\n"
    assert installed.run_script("beta") == f"2 {installed.venv}\n"
    assert not list(installed.site_packages.glob("gamma*"))


def test_second_run_downloads_nothing(installed: Checkout) -> None:
    assert installed.install(wheels="none") == ""


def test_larger_lock_downloads_only_the_new_packages(installed: Checkout) -> None:
    (installed.root / "new").mkdir()
    shutil.copy(installed.root / "wheels" / "gamma-3-py3-none-any.whl", installed.root / "new")
    assert "creating" not in installed.install("--dev", wheels="new")
    assert installed.run_script("gamma") == f"3 {installed.venv}\n"
    assert installed.install("--dev", wheels="none") == ""


def test_interrupted_installation_is_completed(installed: Checkout) -> None:
    """A process killed while pip wrote a package leaves the package without a module."""
    for stamp in installed.venv.glob("*.sha256"):
        stamp.unlink()
    (installed.venv / "installation-unfinished").touch()
    (installed.site_packages / "beta.py").unlink()
    with pytest.raises(RuntimeError, match="No matching distribution"):
        installed.install(wheels="none")
    assert installed.run_script("alpha") == f"1.0 {installed.venv}\n"  # kept without a network
    installed.install()
    assert installed.run_script("beta") == f"2 {installed.venv}\n"
    assert installed.install(wheels="none") == ""


def break_python(environment: Path) -> None:
    """What an upgrade of the system's Python leaves behind."""
    for link in environment.glob("bin/python*"):
        link.unlink()
        link.symlink_to("/nowhere/python3")


def test_environment_without_python_is_replaced(installed: Checkout) -> None:
    break_python(installed.venv)
    assert "creating" in installed.install()
    assert installed.run_script("beta") == f"2 {installed.venv}\n"
    assert installed.install(wheels="none") == ""


def test_environment_is_usable_only_where_it_was_created(
    installed: Checkout, tmp_path: Path
) -> None:
    shutil.copytree(installed.venv, tmp_path / "copy", symlinks=True)
    assert is_usable(installed.venv)
    assert not is_usable(tmp_path / "copy")  # its scripts start the Python of the original
    (tmp_path / "link").symlink_to(installed.venv)
    assert is_usable(tmp_path / "link")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert not is_usable(tmp_path / "dangling")
    (installed.site_packages / "pip" / "__init__.py").rename(tmp_path / "aside")
    assert not is_usable(installed.venv)
    (tmp_path / "aside").rename(installed.site_packages / "pip" / "__init__.py")


def test_package_with_another_hash_is_refused(installed: Checkout) -> None:
    lock = installed.root / "requirements.lock"
    before = lock.read_text()
    build_wheel(installed.root / "wheels", "beta", "4")
    lock.write_text(before.replace("beta==2", "beta==4"))
    with pytest.raises(RuntimeError, match="DO NOT MATCH THE HASHES"):
        installed.install()
    assert installed.run_script("beta") == f"2 {installed.venv}\n"
    lock.write_text(before)
