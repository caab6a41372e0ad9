#!/bin/sh
# Marquee in one file: this head in shell, and behind it the program with its Python, compressed.
# Started for the first time it unpacks itself (45 MB) into a folder of the user's own: the first of
#   $CACHE_DIRECTORY (which systemd sets), $XDG_CACHE_HOME, ~/.cache, $TMPDIR or /tmp
# that can be written to and run from. It may be removed when no Marquee runs.
version=
sources=
payload=
begin=
PATH="${PATH:+$PATH:}/usr/bin:/bin"
umask 077

# A folder that others could have prepared is not to be trusted.
ours() { mkdir -p -m 700 "$1" 2>/dev/null && [ -O "$1" ] && [ ! -L "$1" ] && [ -w "$1" ]; }

unpack() {
	part="$1.$$"
	rm -rf "$part"
	mkdir "$part" || return 1
	if tail -c "+$((1$begin - 100000000))" "$0" | tar -x -z -f - -C "$part" && [ -x "$part/marquee" ]; then
		# Two at once: the second finds the first one's there.
		mv -T "$part" "$1" 2>/dev/null || rm -rf "$part"
	else
		rm -rf "$part"
	fi
	[ -x "$1/marquee" ]
}

for base in "${CACHE_DIRECTORY%%:*}" "$XDG_CACHE_HOME" "${HOME:+$HOME/.cache}" "${TMPDIR:-/tmp}/marquee-$(id -u)"; do
	[ -n "$base" ] || continue
	place="$base/marquee/$version-$payload"
	ours "$base" && ours "$base/marquee" || continue
	if [ -x "$place/marquee" ] || unpack "$place"; then
		exec "$place/marquee" "$@"
	fi
done
echo "marquee: there is no folder to unpack into and run from: set XDG_CACHE_HOME to one, and see that 100 MB are free" >&2
exit 1
