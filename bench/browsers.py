"""Browsers that keep their cookies: campaigns, banners and clicks, and never the same twice."""

import sys

from contest import folder
from crowd import crowd, options_of


def main() -> int:
    parser = options_of(__doc__ or "", "browsers")
    parser.add_argument("--campaigns", default="1,2,3", help="their ids (%(default)s)")
    given = parser.parse_args()
    with folder(given.data, given.banners) as marquee, marquee.running() as running:
        return crowd(running, "browsers", given, {"CAMPAIGNS": given.campaigns})


if __name__ == "__main__":
    sys.exit(main())
