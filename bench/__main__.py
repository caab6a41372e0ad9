"""Every bench in turn, one after another; minutes."""

import argparse
import subprocess
import sys

from bench.environment import BENCH


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("folder", nargs="?", help="CSVs to import and show, in place of a sample")
    folder = parser.parse_args().folder
    shown = ["--banners", folder] if folder else []
    commands = [["pages", *shown], ["bridge"], ["idle", *shown], ["slow", *shown]]
    commands += [["browsers", *shown], ["audience"], ["rising"]]
    if folder:
        commands.append(["imports", folder])
    failed = []
    for name, *options in commands:
        print(f"\n## {name}", flush=True)
        if subprocess.run([sys.executable, str(BENCH / f"{name}.py"), *options]).returncode:
            failed.append(name)
    print(f"\nnot as promised: {', '.join(failed)}" if failed else "\nall as promised")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
