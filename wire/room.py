"""How many bytes of requests may be held at once, by all who hold some."""

# With what else holds them until they are on disk, some tens of megabytes.
HELD = 16_777_216


class Room:
    """So many bytes, of which `held` are taken.

    What a request holds from its head to its answer is taken here; who finds no room answers 503.
    """

    __slots__ = ("held", "size")

    def __init__(self, size: int = HELD) -> None:
        self.size = size
        self.held = 0

    def take(self, count: int) -> bool:
        """Take so many bytes; false, and nothing is taken, if there is no room."""
        if self.held + count > self.size:
            return False
        self.held += count
        return True

    def leave(self, count: int) -> None:
        """Give so many bytes back."""
        self.held -= count


class Share:
    """What one holder has taken of a room."""

    __slots__ = ("_room", "held")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.held = 0

    def hold(self, count: int) -> bool:
        """Hold `count` bytes in all from now on; false, and nothing changes, without room."""
        more = count - self.held
        if more > 0 and not self._room.take(more):
            return False
        if more < 0:
            self._room.leave(-more)
        self.held = count
        return True
