"""The one exception whose message is meant for the person at the terminal."""


class DemoError(Exception):
    """Something that the demo cannot go on after; the message says what to do."""
