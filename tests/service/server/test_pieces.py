"""The pieces in which a connection's bytes are parsed, and requests that arrive together."""

import random
import time

import httptools
import pytest

from service.server.pieces import MOST_PIECE_BYTES, PacedReading, Pieces

ONE = b"GET /v1/defenses HTTP/1.1\r\nhost:\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost:\r\ntransfer-encoding: chunked\r\n\r\n"
BODIES = {
    "no body": ONE,
    "length": b"POST / HTTP/1.1\r\nhost:\r\ncontent-length: 9\r\n\r\n\r\n\r\n9\r\n\r\n",
    "chunks": CHUNKED + b"5\r\n\r\n\r\nx\r\n1;a=b\r\n-\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"1\r\nx\r\n0;last\r\na: b\r\nc: d\r\n\r\n",
    "empty chunks": CHUNKED + b"0\r\n\r\n",
    "blank lines": b"\r\n\r\n" + ONE,
}


class Parser:
    """Parses pieces, and records how many requests each of them ended."""

    def __init__(self):
        self.pieces, self.ended, self.length, self.in_body = Pieces(), [], 0, False
        self.parser = httptools.HttpRequestParser(self)

    def on_header(self, name, value):
        if name == b"content-length":
            self.length = int(value)

    def on_headers_complete(self):
        self.pieces.begin_body(self.length)
        self.length = 0

    def on_message_complete(self):
        self.ended[-1] += 1

    def receive(self, data):
        self.pieces.add(data)
        while self.pieces:
            self.ended.append(0)
            self.parser.feed_data(self.pieces.next())


@pytest.mark.parametrize("seed", range(200))
def test_no_piece_ends_two_requests(seed):
    generator = random.Random(seed)
    requests = generator.choices(list(BODIES.values()), k=12)
    data, parser = b"".join(requests), Parser()
    while data:
        most = generator.choice((1, 3, 20, 1000))
        block, data = data[:most], data[most:]
        parser.receive(block)
    assert sum(parser.ended) == 12
    assert max(parser.ended) == 1


def test_a_block_within_a_body_is_one_piece():
    pieces, block = Pieces(), b"\r\n\r\n" * 64_000
    pieces.begin_body(10**6)
    pieces.add(block)
    assert pieces.next() is block
    assert not pieces


def test_a_block_of_chunks_is_parsed_in_parts():
    """Each chunk takes time, however small it is, and other connections wait meanwhile."""
    parser, data = Parser(), b"1\r\nx\r\n" * 40_000
    parser.receive(CHUNKED)
    parser.ended.clear()
    parser.receive(data + b"0\r\n\r\n" + ONE)
    assert len(parser.ended) == 2 + len(data) // MOST_PIECE_BYTES
    assert parser.ended[-2:] == [1, 1]


class Transport:
    is_reading = True

    def pause_reading(self):
        self.is_reading = False

    def resume_reading(self):
        self.is_reading = True


def test_nothing_is_read_while_something_received_is_not_parsed():
    transport, pieces = Transport(), Pieces()
    flow = PacedReading(transport, pieces)
    pieces.add(ONE)
    flow.pause_reading()
    flow.resume_reading()
    assert not transport.is_reading
    pieces.next()
    flow.resume_reading()
    assert transport.is_reading


def test_a_body_in_chunks_of_one_byte_is_read_whole(patient, make_photograph, receive):
    photograph = make_photograph()
    body = photograph + bytes(400_000)  # a PNG ends with its last chunk
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with patient.connect() as connection:
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        connection.sendall(head + chunks + b"0\r\n\r\n" + LAST)
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_of_blank_lines_makes_few_pieces():
    parser, data = Parser(), b"100000\r\n" + b"\r\n" * 0x80000 + b"\r\n"
    parser.receive(CHUNKED)
    for at in range(0, len(data), 65536):
        parser.receive(data[at : at + 65536])
    parser.receive(b"0\r\n\r\n")
    assert sum(parser.ended) == 1
    assert len(parser.ended) < 15_000  # of 524,288 blank lines


def test_pipelined_requests_are_answered_in_order(patient, make_photograph, receive):
    body = make_photograph()
    post = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n"
    one = post + f"content-length: {len(body)}\r\n\r\n".encode() + body
    two = post + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with patient.connect() as connection:
        connection.sendall((one + ONE + two) * 3 + LAST)
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 10
    places = [answers.find(b'"agreement"'), answers.find(b'"operations"')]
    assert -1 < places[0] < places[1]
    assert answers.endswith(b'{"status":"ok"}')


def test_thousands_of_pipelined_requests_become_one_at_a_time(patient, receive):
    """Without a limit each of them becomes an object of some kilobytes at once."""
    assert patient.ask("/healthz").status == 200
    before = memory_bytes(patient)
    with patient.connect() as connection:
        connection.sendall(ONE * 3000)  # the answers are not read yet
        time.sleep(1)
        assert patient.ask("/healthz").status == 200
        assert memory_bytes(patient) - before < 6_000_000
        connection.sendall(LAST)
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 3001


def memory_bytes(server):
    return 4096 * int((server.proc / "statm").read_text().split()[1])


def test_what_follows_a_body_of_blank_lines_is_asked_for_again(patient, receive):
    """The body's last piece may go too far; then the answer says that the connection ends."""
    body = b"\r\n" * 0x8000
    with patient.connect() as connection:
        text = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(text + b"10000\r\n" + body + b"\r\n0\r\n\r\n" + ONE + LAST)
        answers = receive(connection)
    statuses = [part.split()[0] for part in answers.split(b"HTTP/1.1")[1:]]
    assert statuses in ([b"415"], [b"415", b"200", b"200"])
    assert (b"connection: close" in answers.partition(b"\r\n\r\n")[0]) == (len(statuses) == 1)
