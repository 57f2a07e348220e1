"""The values of options: each function reads one, or raises the error that the parser prints."""

import argparse


def positive(text: str) -> int:
    """Read a number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def whole(text: str) -> int:
    """Read a number of 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def header(text: str) -> tuple[str, str]:
    """Read the name and the value of a header."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("a header is written as 'NAME: VALUE'")
    return name.strip(), value.strip()


def rounds(text: str) -> tuple[int, ...]:
    """Read rounds with commas between them."""
    return tuple(positive(each) for each in text.split(","))
