"""`deploy/install.py`, with packages made here: no network, from many a state of `.venv`."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT

INSTALL = ROOT / "deploy" / "install.py"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "/nowhere"}


class Checkout:
    """A folder with the installer, two lock files and the wheels that they name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"

    def run(self, *arguments: str, wheels: str = "wheels", **env: str) -> str:
        """What the installer says (stderr after stdout); raises where it fails."""
        return self.call([sys.executable, "deploy/install.py", *arguments], wheels, **env)

    def call(self, command: list[str], wheels: str = "wheels", **env: str) -> str:
        surroundings = {**os.environ, **OFFLINE, "PIP_FIND_LINKS": str(self.root / wheels), **env}
        done = subprocess.run(
            command, cwd=self.root, env=surroundings, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout + done.stderr

    def versions(self, *names: str) -> list[str]:
        """Versions by the packages' own word, in `.venv`'s Python."""
        show = f"import {', '.join(names)}; print({'.VERSION, '.join(names)}.VERSION)"
        return self.call([str(self.python), "-I", "-c", show]).split()

    @property
    def site(self) -> Path:
        return next(self.venv.glob("lib/python*/site-packages"))


def wheel(folder: Path, name: str, version: str) -> str:
    """Make a wheel of one module and one command; → its line for a lock file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\ndef main(): print(__import__('sys').prefix)\n",
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
    """A checkout after its first install; to be copied, not changed."""
    root = tmp_path_factory.mktemp("first") / "marquee"
    (root / "deploy").mkdir(parents=True)
    shutil.copy(INSTALL, root / "deploy")
    (root / "wheels").mkdir()
    lock = "# A comment\n" + wheel(root / "wheels", "alpha", "1.0.post1")
    lock += wheel(root / "wheels", "beta", "2.0")
    (root / "requirements.lock").write_text(lock)
    more = "\n# Another comment\n" + wheel(root / "wheels", "gamma_ray", "3")
    (root / "requirements-dev.lock").write_text(lock + more.replace("gamma_ray", "Gamma.Ray"))
    checkout = Checkout(root)
    said = checkout.run()
    assert "making .venv" in said
    assert "installing alpha, beta" in said
    return checkout


@pytest.fixture
def checkout(installed: Checkout, tmp_path: Path) -> Checkout:
    """A copy of an installed checkout, in another place."""
    shutil.copytree(installed.root, tmp_path / "copy", symlinks=True)
    return Checkout(tmp_path / "copy")


def test_a_first_install_brings_what_the_lock_names(installed: Checkout) -> None:
    assert installed.versions("alpha", "beta") == ["1.0.post1", "2.0"]
    assert not list(installed.site.glob("gamma*"))


def test_a_second_install_needs_no_network_and_no_pip(installed: Checkout) -> None:
    before = installed.site.stat().st_mtime_ns
    assert installed.run(wheels="none") == (
        "install: .venv has all 2 packages of requirements.lock\n"
    )
    assert installed.site.stat().st_mtime_ns == before


def test_dev_adds_what_tests_need_and_leaves_the_rest(checkout: Checkout) -> None:
    before = (checkout.site / "alpha.py").stat()
    assert "installing gamma-ray" in checkout.run("--dev")
    assert checkout.versions("alpha", "beta", "gamma_ray") == ["1.0.post1", "2.0", "3"]
    assert (checkout.site / "alpha.py").stat() == before
    assert "all 2 packages" in checkout.run(wheels="none")


def dangling_python(it: Checkout) -> None:
    for link in it.python.parent.glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python3")


def python_that_fails(it: Checkout) -> None:
    for link in it.python.parent.glob("python*"):
        link.unlink()
    it.python.write_text("#!/bin/sh\nexit 1\n")
    it.python.chmod(0o755)


def python_of_another_place(it: Checkout) -> None:
    (it.venv / "pyvenv.cfg").unlink()


def empty_folder(it: Checkout) -> None:
    shutil.rmtree(it.venv)
    it.venv.mkdir()


def file_in_its_place(it: Checkout) -> None:
    shutil.rmtree(it.venv)
    it.venv.write_text("")


def link_to_nowhere(it: Checkout) -> None:
    shutil.rmtree(it.venv)
    it.venv.symlink_to("nowhere")


@pytest.mark.parametrize(
    "spoil",
    [
        dangling_python,
        python_of_another_place,
        file_in_its_place,
        pytest.param(python_that_fails, marks=pytest.mark.long),
        pytest.param(empty_folder, marks=pytest.mark.long),
        pytest.param(link_to_nowhere, marks=pytest.mark.long),
    ],
)
def test_an_environment_past_mending_is_made_anew(
    checkout: Checkout, spoil: Callable[[Checkout], None]
) -> None:
    spoil(checkout)
    assert "making it anew with" in checkout.run()
    assert checkout.versions("alpha", "beta") == ["1.0.post1", "2.0"]
    assert "all 2 packages" in checkout.run(wheels="none")


def no_pip(it: Checkout) -> None:
    for rest in it.site.glob("pip*"):
        shutil.rmtree(rest)
    (it.python.parent / "pip").unlink()


def half_a_pip(it: Checkout) -> None:
    (it.site / "pip" / "__init__.py").unlink()


@pytest.mark.parametrize("spoil", [half_a_pip, pytest.param(no_pip, marks=pytest.mark.long)])
def test_a_pip_that_is_gone_comes_back_without_a_download(
    checkout: Checkout, spoil: Callable[[Checkout], None]
) -> None:
    spoil(checkout)
    assert "bringing it back" in checkout.run(wheels="none")
    assert checkout.call([str(checkout.python), "-m", "pip", "--version"]).startswith("pip ")


def missing_package(it: Checkout) -> None:
    (it.site / "beta.py").unlink()
    shutil.rmtree(it.site / "beta-2.0.dist-info")


def missing_file(it: Checkout) -> None:
    (it.site / "beta.py").unlink()


def cut_file(it: Checkout) -> None:
    (it.site / "beta.py").write_text("VERS")


def missing_script(it: Checkout) -> None:
    (it.python.parent / "beta").unlink()


def other_version(it: Checkout) -> None:
    wheel(it.root / "wheels", "beta", "1.9")
    pip = [str(it.python), "-m", "pip", "install", "--no-deps", "beta==1.9"]
    it.call([*pip, "--disable-pip-version-check"])
    assert it.versions("beta") == ["1.9"]


@pytest.mark.parametrize(
    "spoil", [missing_package, missing_file, cut_file, missing_script, other_version]
)
def test_only_what_is_amiss_is_installed(
    checkout: Checkout, spoil: Callable[[Checkout], None]
) -> None:
    spoil(checkout)
    (checkout.root / "wheels" / "alpha-1.0.post1-py3-none-any.whl").unlink()
    said = checkout.run()
    assert "installing beta ...\n" in said
    assert "anew" not in said
    assert checkout.versions("alpha", "beta") == ["1.0.post1", "2.0"]
    assert "all 2 packages" in checkout.run(wheels="none")


def missing_record(it: Checkout) -> None:
    (it.site / "beta-2.0.dist-info" / "RECORD").unlink()


def cut_record(it: Checkout) -> None:
    record = it.site / "beta-2.0.dist-info" / "RECORD"
    record.write_text(record.read_text()[:40])


def two_versions_at_once(it: Checkout) -> None:
    shutil.copytree(it.site / "beta-2.0.dist-info", it.site / "beta-1.0.dist-info")


@pytest.mark.parametrize(
    "spoil",
    [missing_record, cut_record, pytest.param(two_versions_at_once, marks=pytest.mark.long)],
)
def test_what_pip_was_killed_at_is_mended(
    checkout: Checkout, spoil: Callable[[Checkout], None]
) -> None:
    spoil(checkout)
    checkout.run()
    assert checkout.versions("alpha", "beta") == ["1.0.post1", "2.0"]
    assert "all 2 packages" in checkout.run(wheels="none")


@pytest.mark.parametrize("spoil", [missing_file, missing_record])
def test_without_a_network_what_still_works_is_kept(
    checkout: Checkout, spoil: Callable[[Checkout], None]
) -> None:
    spoil(checkout)
    with pytest.raises(RuntimeError, match="pip could not fetch them; what it said stands above"):
        checkout.run(wheels="none")
    assert checkout.versions("alpha") == ["1.0.post1"]


def test_a_copied_checkout_runs_its_own_python_without_a_download(checkout: Checkout) -> None:
    assert "turning the scripts of .venv" in checkout.run(wheels="none")
    assert checkout.call([str(checkout.venv / "bin" / "alpha")]) == f"{checkout.venv}\n"
    assert "turning" not in checkout.run(wheels="none")


def test_a_file_with_another_hash_is_refused(checkout: Checkout) -> None:
    missing_package(checkout)
    lock = checkout.root / "requirements.lock"
    head, _, digest = lock.read_text().rpartition("sha256:")
    lock.write_text(f"{head}sha256:{digest[::-1].strip()}\n")
    with pytest.raises(RuntimeError, match="DO NOT MATCH THE HASHES"):
        checkout.run()
    assert not (checkout.site / "beta.py").exists()


def test_a_lock_without_hashes_is_refused(checkout: Checkout) -> None:
    (checkout.root / "requirements.lock").write_text("beta==2.0\n")
    with pytest.raises(RuntimeError, match=r"requirements\.lock is not understood at 'beta==2.0'"):
        checkout.run()


def test_two_at_once_do_not_spoil_each_other(checkout: Checkout) -> None:
    missing_package(checkout)
    command = [sys.executable, "deploy/install.py"]
    env = {**os.environ, **OFFLINE, "PIP_FIND_LINKS": str(checkout.root / "wheels")}
    both = [
        subprocess.Popen(command, cwd=checkout.root, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [one.communicate(timeout=60)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted("installing" in words for words in said) == [False, True]
    assert checkout.versions("beta") == ["2.0"]


def test_settings_of_pip_that_name_another_place_are_not_followed(checkout: Checkout) -> None:
    missing_package(checkout)
    aside = str(checkout.root / "aside")
    checkout.run(PIP_TARGET=aside, PIP_USER="1", PYTHONPATH=aside, PIP_PREFIX=aside)
    assert checkout.versions("beta") == ["2.0"]
    assert not Path(aside).exists()


def test_an_old_python_is_told_so(checkout: Checkout) -> None:
    pretend = "import sys, runpy; sys.version_info = (3, 9, 2); sys.version = '3.9.2 (x)'; "
    with pytest.raises(RuntimeError, match=r"Python 3.11 or later is needed, \S+ is 3.9.2; name"):
        checkout.call(
            [sys.executable, "-c", pretend + "runpy.run_path('deploy/install.py', {}, '__main__')"]
        )


def test_a_python_without_venv_is_told_what_to_install_and_removes_nothing(
    checkout: Checkout,
) -> None:
    dangling_python(checkout)
    pretend = "import sys, runpy; sys.modules['ensurepip'] = None; "
    with pytest.raises(RuntimeError, match="apt install python3-venv"):
        checkout.call(
            [sys.executable, "-c", pretend + "runpy.run_path('deploy/install.py', {}, '__main__')"]
        )
    assert (checkout.site / "alpha.py").exists()
