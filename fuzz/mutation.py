"""Make malformed bodies from well-formed ones."""

from random import Random

_INTERESTING = (
    b"\0",
    b"\xff",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"NaN",
    b"[",
    b"{",
)


def mutate(seed: bytes, others: list[bytes], rng: Random) -> bytes:
    """Change a body in 1 to 4 places: cut, flip a bit, repeat, insert, or splice another body."""
    body = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(6):
            case 0:
                del body[at:]
            case 1 if body:
                body[at % len(body)] ^= 1 << rng.randrange(8)
            case 2:
                body[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(0, 8))
            case 3:
                body[at:at] = rng.choice(_INTERESTING)
            case 4:
                other = rng.choice(others)
                body[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                body[at:at] = body[at : at + rng.randint(1, 64)] * rng.randint(1, 4)
    return bytes(body)
