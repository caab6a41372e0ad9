#!/bin/sh
# Marquee as a single file: this launcher, followed by the program and its Python as tar.gz.
# The first start unpacks it (45 MB) into a folder of the user: the first of
#   $CACHE_DIRECTORY (set by systemd), $XDG_CACHE_HOME, ~/.cache, $TMPDIR or /tmp
# that is writable and allows execution. The folder can be removed while Marquee is stopped.
version=
sources=
payload=
begin=
PATH="${PATH:+$PATH:}/usr/bin:/bin"
umask 077

# Another user could have put a program into a folder that this user does not own.
ours() { mkdir -p -m 700 "$1" 2>/dev/null && [ -O "$1" ] && [ ! -L "$1" ] && [ -w "$1" ]; }

unpack() {
	part="$1.$$"
	rm -rf "$part"
	mkdir "$part" || return 1
	if tail -c "+$((1$begin - 100000000))" "$0" | tar -x -z -f - -C "$part" && [ -x "$part/marquee" ]; then
		# A concurrent start may have unpacked it first.
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
echo "marquee: no folder is writable and executable with 100 MB free: set XDG_CACHE_HOME to such a folder" >&2
exit 1
