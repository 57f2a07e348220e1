from importlib.util import find_spec
from pathlib import Path

import pytest

from service.cli.main import main

PHOTOGRAPHS = Path(find_spec("foolbox").origin).parent / "data"


@pytest.fixture
def warpguard(capsys, monkeypatch):
    """Run a command in this process and check its exit code; returns (out, err) as text."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, code=0):
        capsys.readouterr()
        try:
            ended = main([str(each) for each in arguments])
        except SystemExit as error:
            ended = error.code
        printed = capsys.readouterr()
        assert ended == code, printed
        return printed

    return run


@pytest.fixture
def dalmatian():
    return PHOTOGRAPHS / "imagenet_16_251.jpg"


@pytest.fixture
def goose():
    return PHOTOGRAPHS / "imagenet_15_99.jpg"
