"""Applications that send events, one by one and in lines, repeat some, and find all of them."""

import sys
import tempfile
from pathlib import Path

from contest import own
from crowd import crowd, options_of


def main() -> int:
    parser = options_of(__doc__ or "", "senders", data=False)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        marquee, token = own(Path(folder, "data"))
        with marquee.running() as running:
            return crowd(running, "senders", given, {"TOKEN": token})


if __name__ == "__main__":
    sys.exit(main())
