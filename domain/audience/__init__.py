"""Rules of the audience: beacon, trend score, history."""
