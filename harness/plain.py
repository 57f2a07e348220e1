"""Text from an endpoint or a file, made safe to print."""


def plain(text: str) -> str:
    r"""Make text one line without unprintable characters, which could control a terminal.

    >>> plain("red: \x1b[31m, and a\nnew line")
    'red: [31m, and a new line'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
