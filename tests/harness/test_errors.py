"""What the errors of the harness may write to a terminal."""

import pytest

from harness import errors
from harness.errors import HarnessError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HarnessError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_one_printable_line_that_is_not_endless(kind):
    assert str(kind("a\x1b]0;b\x07\r\n\u202ec\u2028 é写")) == "a ]0;b c é写"
    assert len(str(kind("a" * 10**6))) == 2001
