"""What goes wrong, in words for the person at the terminal."""


class Trouble(Exception):
    """Something that the emulator cannot go on without, and what to do about it."""
