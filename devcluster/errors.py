"""The one exception whose message is meant for the person at the terminal."""


class DevclusterError(Exception):
    """Something that cannot go on; the message says what is wrong and what to do."""
